//! Who asked, for which host and how: the forwarding headers of proxies.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use portside_websocket::headers::tokens;

use crate::connection::Connection;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// How the names of headers begin that only gateways and pods send to each other.
const OURS: &str = "portside-";
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The scheme and host a client asked for, as far as it can be believed.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: &'static str,
    pub(crate) host: Authority,
}

/// Parses a host with an optional port, as a URL can have it: no user information, no empty name, no escapes.
pub(crate) fn host(bytes: &[u8]) -> Option<Authority> {
    let authority = Authority::try_from(bytes).ok()?;
    let host = authority.host();
    let name_is_valid = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains('%'),
    };
    let port = authority.as_str().strip_prefix(host)?;
    let port_is_valid = match port.strip_prefix(':') {
        Some(port) => port.is_empty() || port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    (name_is_valid && port_is_valid).then_some(authority)
}

/// Takes the origin from the headers, and makes them say what the application may believe: from a peer that is
/// not trusted all of it is ours, a trusted proxy's is kept and its own address added.
///
/// Of a list of schemes or hosts the last counts: earlier members come from further away.
///
/// # Errors
///
/// A trusted proxy's `x-forwarded-host` is no host.
pub(crate) fn apply(
    connection: &Connection,
    host_asked: Authority,
    headers: &mut HeaderMap,
) -> Result<Origin, &'static str> {
    let mut origin = Origin {
        scheme: "http",
        host: host_asked,
    };
    let mut client = connection.forwarded_for.clone();
    if connection.trusted {
        match tokens(headers, &PROTO).last() {
            Some(proto) if proto.eq_ignore_ascii_case("https") => origin.scheme = "https",
            _ => {}
        }
        if let Some(forwarded) = headers.get_all(HOST).iter().next_back() {
            let last = forwarded.as_bytes().rsplit(|byte| *byte == b',').next();
            origin.host = host(last.unwrap_or_default().trim_ascii())
                .ok_or("x-forwarded-host is not a host")?;
        }
        client = appended(headers, &FOR, client.as_bytes()).unwrap_or(client);
        if headers.contains_key(header::FORWARDED) {
            let element = forwarded_element(connection.peer);
            if let Some(value) = appended(headers, &header::FORWARDED, element.as_bytes()) {
                headers.insert(header::FORWARDED, value);
            }
        }
    } else {
        remove_forwarding(headers);
    }
    headers.insert(FOR, client);
    headers.insert(PROTO, HeaderValue::from_static(origin.scheme));
    // Cheap: the value shares the bytes of the request's head.
    if let Ok(value) = HeaderValue::from_str(origin.host.as_str()) {
        headers.insert(HOST, value);
    }
    Ok(origin)
}

fn remove_forwarding(headers: &mut HeaderMap) {
    headers.remove(header::FORWARDED);
    let lies: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("x-forwarded-") || name.starts_with(OURS)
        })
        .cloned()
        .collect();
    for name in lies {
        headers.remove(name);
    }
}

/// All lines of a list, and one more member.
fn appended(headers: &HeaderMap, name: &HeaderName, member: &[u8]) -> Option<HeaderValue> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let lines: Vec<&[u8]> = lines
        .filter(|line| !line.is_empty())
        .chain([member])
        .collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
}

/// RFC 7239: an IPv6 address is bracketed and quoted.
fn forwarded_element(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(peer) => format!("for={peer}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_address_with_an_optional_port() {
        for (text, valid) in [
            ("example.com", true),
            ("example.com:8080", true),
            ("127.0.0.1:80", true),
            ("[::1]", true),
            ("[::1]:80", true),
            ("a:", true),
            ("", false),
            (":80", false),
            ("a:99999", false),
            ("a:b", false),
            ("user@a", false),
            ("a b", false),
            ("a/b", false),
            ("a%41", false),
            ("[::1", false),
            ("[::g]", false),
            ("::1", false),
            ("a\\b", false),
            ("a?b", false),
            ("a#b", false),
        ] {
            assert_eq!(host(text.as_bytes()).is_some(), valid, "{text:?}");
        }
    }
}
