//! Where to listen.

use std::net::{AddrParseError, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Reads an address to listen on, for command lines.
///
/// `[::]` is for clients of both families, as Linux has it, in clusters of either or both; where the system has no IPv6 it
/// becomes `0.0.0.0`, so that it can be the default everywhere.
///
/// # Errors
/// It is no address with a port.
pub fn listen_address(text: &str) -> Result<SocketAddr, AddrParseError> {
    let has_ipv6 = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    Ok(usable(text.parse()?, has_ipv6))
}

fn usable(address: SocketAddr, has_ipv6: impl FnOnce() -> bool) -> SocketAddr {
    if address.ip() == Ipv6Addr::UNSPECIFIED && !has_ipv6() {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ipv6_every_address_is_every_ipv4_address() {
        for (asked, has_ipv6, expected) in [
            ("[::]:80", true, "[::]:80"),
            ("[::]:80", false, "0.0.0.0:80"),
            ("[::1]:80", false, "[::1]:80"),
            ("0.0.0.0:80", true, "0.0.0.0:80"),
        ] {
            let found = usable(asked.parse().unwrap(), || has_ipv6);
            assert_eq!(found.to_string(), expected, "{asked}");
        }
        assert!(listen_address("80").is_err());
    }
}
