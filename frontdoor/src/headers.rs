//! Headers that end at this hop.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use portside_websocket::headers::tokens;

/// RFC 9110 section 7.6.1, and `trailer`: trailers are not passed on.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes the headers that concern this connection only, and those that `connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter_map(|token| token.parse().ok())
            // They describe the message, whatever a client says.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Makes one line of a cookie that came in several, as HTTP/2 allows and browsers do (RFC 9113 section 8.2.3): joined with
/// a comma, as other headers are, it would be another cookie.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for line in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    let joined = HeaderValue::from_bytes(&joined).expect("made of header values");
    headers.insert(header::COOKIE, joined);
}

/// The one value of `content-length`, if there is exactly one and it is a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let value = values.next()?.to_str().ok()?;
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    (digits && values.next().is_none())
        .then(|| value.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_go_and_the_others_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private,Host"),
            ("connection", "x-second"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x-end"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("host", "example.com"),
            ("x-public", "1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-public"]);
    }

    #[test]
    fn a_cookie_in_several_lines_is_one_cookie() {
        for (lines, expected) in [
            (&[&b"a=1"[..]][..], &b"a=1"[..]),
            (&[b"a=1", b"b=2; c=3", b"d=\xff"], b"a=1; b=2; c=3; d=\xff"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("cookie", HeaderValue::from_bytes(line).unwrap());
            }
            join_cookies(&mut headers);
            let joined: Vec<_> = headers.get_all("cookie").iter().collect();
            assert_eq!(joined, [expected]);
        }
        let mut none = HeaderMap::new();
        join_cookies(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn a_content_length_is_one_number() {
        for (values, expected) in [
            (&["5"][..], Some(5)),
            (&["5", "5"], None),
            (&["+5"], None),
            (&[""], None),
            (&["5, 5"], None),
            (&["99999999999999999999"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("content-length", HeaderValue::from_static(value));
            }
            assert_eq!(content_length(&headers), expected, "{values:?}");
        }
    }
}
