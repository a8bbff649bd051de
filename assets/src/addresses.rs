//! Addresses in `_headers` and `_redirects`: paths, or URLs with a host.

use url::Url;

/// What is wrong with a line, for people.
pub(crate) type Wrong = String;

/// What of an address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path.
    Path,
    /// A path, or a URL without a port.
    Page,
    /// A path or a URL, with a query and a fragment.
    Target,
}

/// An address as URLs have it: percent-encoded, without `.` and `..`.
pub(crate) fn address(text: &str, kind: Kind) -> Result<String, Wrong> {
    if let Some((host, path)) = with_host(text) {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        return match kind {
            Kind::Path => Err(format!("{text} has a host: write the path alone")),
            Kind::Page if has_port => Err(format!("{text} has a port: leave it out")),
            _ => Ok(format!("https://{host}{}", path_of(path, kind)?)),
        };
    }
    if text.starts_with('/') || kind == Kind::Path {
        return path_of(text, kind);
    }
    Err(format!("{text} must begin with / or https://"))
}

/// Whether an address has a host.
pub(crate) fn has_host(address: &str) -> bool {
    with_host(address).is_some()
}

fn with_host(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("https://")?.trim_start_matches('/');
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (!host.is_empty()).then_some((host, path))
}

fn path_of(text: &str, kind: Kind) -> Result<String, Wrong> {
    let slash = if text.starts_with('/') { "" } else { "/" };
    let parsed = Url::parse(&format!("relative://{slash}{text}"));
    let url = parsed.map_err(|error| format!("{text} is no address: {error}"))?;
    let mut path = url.path().to_owned();
    if kind == Kind::Target {
        let parts = [('?', url.query()), ('#', url.fragment())];
        for (mark, part) in parts {
            path.extend(part.map(|part| format!("{mark}{part}")));
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_urls_have_them() {
        let ok = |text: &str, kind| address(text, kind).unwrap();
        assert_eq!(ok("/a b/ü?x#y", Kind::Path), "/a%20b/%C3%BC");
        assert_eq!(ok("a", Kind::Path), "/a");
        assert_eq!(ok("/a/../b/./*", Kind::Page), "/b/*");
        assert_eq!(ok("/a?x#y", Kind::Target), "/a?x#y");
        assert_eq!(
            ok("https://:sub.example.com", Kind::Page),
            "https://:sub.example.com/"
        );
        assert_eq!(ok("https://a.b:8/c?d", Kind::Target), "https://a.b:8/c?d");
        let wrong = |text: &str, kind| address(text, kind).unwrap_err();
        assert!(wrong("https://a.b/c", Kind::Path).contains("path alone"));
        assert!(wrong("https://a.b:8/c", Kind::Page).contains("leave it out"));
        assert!(wrong("http://a.b/c", Kind::Target).contains("must begin with"));
    }
}
