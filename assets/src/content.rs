//! What files are, by their names.

use mime_guess::MimeGuess;

/// Where the table of `mime_guess` has something older than what browsers and Cloudflare go by.
const OWN: &[(&str, &str)] = &[
    ("3mf", "model/3mf"),
    ("aif", "audio/x-aiff"),
    ("aiff", "audio/x-aiff"),
    ("cjs", "application/node"),
    ("dds", "image/vnd.ms-dds"),
    ("exr", "image/aces"),
    ("flac", "audio/x-flac"),
    ("ico", "image/vnd.microsoft.icon"),
    ("ipynb", "application/x-ipynb+json"),
    ("jsx", "text/jsx"),
    ("ktx2", "image/ktx2"),
    ("lottie", "application/zip+dotlottie"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4b", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("manifest", "text/cache-manifest"),
    ("map", "application/json"),
    ("mdx", "text/mdx"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript"),
    ("mtl", "model/mtl"),
    ("mts", "video/mp2t"),
    ("obj", "model/obj"),
    ("otf", "font/otf"),
    ("psd", "image/vnd.adobe.photoshop"),
    ("sql", "application/sql"),
    ("step", "model/step"),
    ("stl", "model/stl"),
    ("stp", "model/step"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("usdz", "model/vnd.usdz+zip"),
    ("wgsl", "text/wgsl"),
    ("woff", "font/woff"),
    ("xml", "application/xml"),
    ("xsd", "application/xml"),
    ("xsl", "application/xml"),
    ("xslt", "application/xslt+xml"),
    ("yaml", "text/yaml"),
    ("yml", "text/yaml"),
];

/// The `Content-Type` of a file, if its name says it. Text is UTF-8.
pub(crate) fn content_type(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    if stem.is_empty() {
        return None; // a dot file
    }
    let extension = extension.to_ascii_lowercase();
    let own = OWN.binary_search_by_key(&&*extension, |(known, _)| known);
    let kind = match own {
        Ok(at) => OWN[at].1,
        Err(_) => MimeGuess::from_ext(&extension).first_raw()?,
    };
    Some(match kind.starts_with("text/") {
        true => format!("{kind}; charset=utf-8"),
        false => kind.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        for (path, kind) in [
            ("/index.html", Some("text/html; charset=utf-8")),
            ("/A.CSS", Some("text/css; charset=utf-8")),
            ("/a.min.js", Some("text/javascript; charset=utf-8")),
            ("/a.js.map", Some("application/json")),
            ("/a.json", Some("application/json")),
            ("/a.svg", Some("image/svg+xml")),
            ("/a.wasm", Some("application/wasm")),
            ("/a.webmanifest", Some("application/manifest+json")),
            ("/a.woff2", Some("font/woff2")),
            ("/a.webp", Some("image/webp")),
            ("/a.avif", Some("image/avif")),
            (
                "/a.docx",
                Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ),
            ("/favicon.ico", Some("image/vnd.microsoft.icon")),
            ("/css", None),
            ("/a/.css", None),
            ("/.a.css", Some("text/css; charset=utf-8")),
            ("/a.b/c", None),
            ("/a.unheard-of", None),
        ] {
            assert_eq!(content_type(path).as_deref(), kind, "{path}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_says_what_is_news() {
        assert!(OWN.is_sorted());
        for (extension, kind) in OWN {
            let guessed = MimeGuess::from_ext(extension).first_raw();
            assert_ne!(guessed, Some(*kind), "{extension}");
        }
    }
}
