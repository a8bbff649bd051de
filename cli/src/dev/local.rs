//! Requests that only programs of this machine may make: a browser of it may be shown a page of somewhere else.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};
use url::{Host, Url};

/// The origin of Chrome's own debugger.
const DEVTOOLS: &str = "devtools://";

/// Whether a request for `url` is not one that a page of somewhere else has a browser of this machine make: by a name that was made
/// to lead here, or from its own origin. Frames in a sandbox have the origin `null`, and images none.
pub fn is_of_this_machine(url: &Url, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let is_known = |origin: String| {
        origin.starts_with(DEVTOOLS) || Url::parse(&origin).is_ok_and(|origin| is_local(&origin))
    };
    let origin = headers.get(ORIGIN).map(text);
    let site = headers.get("sec-fetch-site").map(text);
    is_local(url) && origin.is_none_or(is_known) && site.as_deref() != Some("cross-site")
}

fn is_local(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    is_here && matches!(url.scheme(), "http" | "https" | "ws" | "wss")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(url: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let value = |&(name, value): &(&'static str, &'static str)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        is_of_this_machine(
            &Url::parse(url).unwrap(),
            &headers.iter().map(value).collect(),
        )
    }

    #[test]
    fn only_requests_of_this_machine_are_let_in() {
        let here = "http://127.0.0.1:9229/";
        assert!(allowed(here, &[]));
        assert!(allowed(here, &[("origin", "devtools://devtools")]));
        assert!(allowed(here, &[("sec-fetch-site", "none")]));
        assert!(allowed(
            "http://[::1]:9229/",
            &[("origin", "http://localhost:3000")]
        ));
        assert!(!allowed("http://rebound.example:9229/", &[]));
        for origin in [
            "https://elsewhere.example",
            "http://localhost.example",
            "null",
            "file://",
            "",
        ] {
            assert!(!allowed(here, &[("origin", origin)]), "{origin}");
        }
        assert!(!allowed(here, &[("sec-fetch-site", "cross-site")]));
    }
}
