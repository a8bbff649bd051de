//! Requests that only programs of this machine may make: a browser of it may be shown a page of somewhere else.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};
use url::{Host, Url};

/// Who asked, as front doors have seen it.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// The origin of Chrome's own debugger.
const DEVTOOLS: &str = "devtools://";

/// Whether a request for `url` comes from this machine, by the addresses that front doors have seen, and is not one that a page of
/// somewhere else has a browser of this machine make: by a name that was made to lead here, or from its own origin. Frames in a
/// sandbox have the origin `null`, and images none.
pub fn is_of_this_machine(url: &Url, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let is_loopback = |address: &str| {
        let address = address.trim().parse::<IpAddr>();
        address.is_ok_and(|it| it.to_canonical().is_loopback())
    };
    // Ours to say, one for each front door and for each proxy that is trusted.
    let from = headers.get(FORWARDED_FOR).map(text).unwrap_or_default();
    // As the client said it, whatever a proxy makes of it.
    let host = headers.get(HOST).map(text);
    let is_local_host =
        |host: String| Url::parse(&format!("http://{host}")).is_ok_and(|it| is_local(&it));
    if !from.split(',').all(is_loopback) || !host.is_none_or(is_local_host) {
        return false;
    }
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
        let by = [(FORWARDED_FOR, "127.0.0.1")];
        let mut all: HeaderMap = by.iter().map(value).collect();
        all.extend(headers.iter().map(value).collect::<HeaderMap>());
        is_of_this_machine(&Url::parse(url).unwrap(), &all)
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
        // Who says that it is local, and is not.
        for from in [
            "192.0.2.1",
            "192.0.2.1, 127.0.0.1",
            "127.0.0.1, ::ffff:192.0.2.1",
            "",
            "unknown",
        ] {
            assert!(!allowed(here, &[("x-forwarded-for", from)]), "{from}");
        }
        assert!(allowed(
            here,
            &[("x-forwarded-for", "::1, ::ffff:127.0.0.1")]
        ));
        assert!(allowed(here, &[("host", "localhost:9229")]));
        assert!(!allowed(here, &[("host", "rebound.example:9229")]));
        assert!(!is_of_this_machine(
            &Url::parse(here).unwrap(),
            &HeaderMap::new()
        ));
    }
}
