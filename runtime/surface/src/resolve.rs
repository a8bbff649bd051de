//! Which script `new ServerlessWorker(url)` means.

use deno_core::url::{self, Url};
use deno_core::v8;
use portside_core::bundle::Bundle;

/// The bundle's modules have URLs below this one.
pub const ROOT: &str = "file:///";

/// The URL of the module at `path` in the bundle. What a URL cannot have in it, like a space, is percent-encoded.
#[must_use]
pub fn url_of(path: &str) -> Option<Url> {
    Url::from_file_path(format!("/{path}")).ok()
}

/// The path in the bundle of what has this URL, percent-decoded; nothing for other URLs, and for what is not UTF-8.
#[must_use]
pub fn path_of(url: &Url) -> Option<String> {
    let file = url.to_file_path().ok()?;
    Some(file.to_str()?.trim_start_matches('/').to_owned())
}

/// The URL of the nearest caller that is a module of the bundle.
#[must_use]
pub fn calling_module(scope: &mut v8::PinScope<'_, '_>) -> Option<String> {
    /// The constructor that calls the op, and its caller. Each frame that is looked at takes its time.
    const NEAREST: usize = 2;
    /// Frames between the op and the module are few; frameworks add some.
    const FRAMES: usize = 16;
    nearest_module(scope, NEAREST).or_else(|| nearest_module(scope, FRAMES))
}

fn nearest_module(scope: &mut v8::PinScope<'_, '_>, frames: usize) -> Option<String> {
    let trace = v8::StackTrace::current_stack_trace(scope, frames)?;
    (0..trace.get_frame_count()).find_map(|index| {
        let name = trace
            .get_frame(scope, index)?
            .get_script_name(scope)?
            .to_rust_string_lossy(scope);
        name.starts_with(ROOT).then_some(name)
    })
}

/// The path in `bundle` of the script that `specifier` means when `referrer` (a module's URL) constructs it.
///
/// # Errors
/// A message for the `TypeError`: not a URL, outside the application, or no such module.
pub fn worker_script(
    bundle: &Bundle,
    referrer: Option<&str>,
    specifier: &str,
) -> Result<String, String> {
    let base = match referrer {
        Some(referrer) => Url::parse(referrer),
        None => url_of(&bundle.main).ok_or(url::ParseError::EmptyHost),
    };
    let url = base
        .and_then(|base| base.join(specifier))
        .map_err(|error| format!("{specifier:?} is not a worker script's URL: {error}"))?;
    if url.scheme() != "file" || url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(format!(
            "{specifier:?} is outside the application: name one of its own modules"
        ));
    }
    let path = path_of(&url).unwrap_or_else(|| url.path().to_owned());
    bundle.find(&path).map(str::to_owned).ok_or_else(|| {
        format!("the application has no module {path:?}, which {specifier:?} means here")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portside_core::bundle::{Module, ModuleKind};

    use super::*;

    #[test]
    fn scripts_are_found_relative_to_their_caller() {
        let module = Module {
            kind: ModuleKind::JavaScript,
            code: Arc::default(),
            source_map: None,
        };
        let paths = [
            "server.js",
            "w.js",
            "lib/w.js",
            "lib/typed.ts",
            "my wörker.js",
            "100%.js",
        ];
        let bundle = Bundle {
            main: "server.js".into(),
            modules: paths
                .iter()
                .map(|path| ((*path).to_owned(), module.clone()))
                .collect(),
        };
        let find =
            |referrer: Option<&str>, specifier: &str| worker_script(&bundle, referrer, specifier);
        assert_eq!(find(None, "./w.js").as_deref(), Ok("w.js"));
        assert_eq!(find(None, "w.js").as_deref(), Ok("w.js"));
        assert_eq!(
            find(Some("file:///lib/a.js"), "./w.js").as_deref(),
            Ok("lib/w.js")
        );
        assert_eq!(
            find(Some("file:///lib/a.js"), "../w.js").as_deref(),
            Ok("w.js")
        );
        assert_eq!(
            find(Some("file:///lib/a.js"), "file:///w.js").as_deref(),
            Ok("w.js")
        );
        assert_eq!(
            find(Some("file:///lib/a.js"), "./typed.js").as_deref(),
            Ok("lib/typed.ts")
        );
        for path in ["my wörker.js", "100%.js"] {
            assert_eq!(find(None, &format!("./{path}")).as_deref(), Ok(path));
            let url = url_of(path).unwrap();
            assert_eq!(path_of(&url).as_deref(), Some(path));
            assert_eq!(find(Some(url.as_str()), url.as_str()).as_deref(), Ok(path));
        }
        assert!(find(None, "./none.js").is_err_and(|message| message.contains("none.js")));
        assert!(find(None, "https://example.com/w.js").is_err());
        assert!(find(None, "../../etc/passwd").is_err());
    }
}
