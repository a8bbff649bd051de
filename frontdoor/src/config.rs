//! What an operator may set.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// The front door's settings. [`Config::default`] suits a public listener behind an Ingress.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whose `x-forwarded-*`, `forwarded` and `x-request-id` headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Whether clients see an application's error message; for development only.
    pub show_errors: bool,
    /// Requests in progress at once, response bodies included; more get 503.
    pub max_requests: usize,
    /// Bytes of a request body; more get 413.
    pub max_body_bytes: usize,
    /// Bytes of a request's head, at least 8 KiB; more get 431.
    pub max_header_bytes: usize,
    /// Header lines of a request; more get 431.
    pub max_headers: usize,
    /// Bytes of path and query; more get 414.
    pub max_uri_bytes: usize,
    /// Bytes of a WebSocket message, decompressed; more close the connection with 1009.
    pub max_message_bytes: usize,
    /// Time for a request's head, and for which an idle connection is kept; 408 after a partial head.
    pub header_timeout: Duration,
    /// How long a request body may bring no byte while the application waits for one; then 408.
    pub body_timeout: Duration,
    /// How long a client may take no byte of what waits for it, on a connection or on a stream of HTTP/2; then the
    /// connection is dropped.
    pub write_timeout: Duration,
    /// How long a client that has ended its side of a connection, but waits for an answer, may be sent nothing; then it is
    /// taken as lost, because one that is gone looks the same. Over HTTP/2 such a client is lost at once.
    pub half_close_timeout: Duration,
    /// Silence after which a WebSocket's peer gets a ping; it is lost after two without an answer.
    pub ping_interval: Duration,
    /// Time for a WebSocket's peer to answer a closing handshake.
    pub close_timeout: Duration,
    /// Time for running requests and WebSockets to end on shutdown; then they are cut off.
    pub shutdown_timeout: Duration,
    /// The code WebSockets are closed with on shutdown: 1001 (going away), or 1012 (service restart) where another
    /// process serves the same clients at once.
    pub shutdown_code: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            trusted_proxies: TrustedProxies::None,
            show_errors: false,
            max_requests: 16 * 1024,
            max_body_bytes: 100 << 20,
            max_header_bytes: 64 << 10,
            max_headers: 128,
            max_uri_bytes: 16 << 10,
            max_message_bytes: 32 << 20,
            // Longer than the idle timeout of common proxies, so that they, not we, retire connections.
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            // Longer than most answers take to begin; what was begun for a client that is gone runs on for as long.
            half_close_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(30),
            shutdown_code: 1001,
        }
    }
}

/// Peers whose forwarding headers are believed. Loopback is a peer like any other.
#[derive(Debug, Clone, Default)]
pub enum TrustedProxies {
    /// Nobody: what clients send is replaced.
    #[default]
    None,
    /// Everybody: right only where nobody but a proxy can connect.
    All,
    /// Peers in these networks.
    Networks(Vec<IpNet>),
}

impl TrustedProxies {
    /// Whether `peer` is trusted. An IPv4-mapped IPv6 address counts as its IPv4 address.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Networks(networks) => {
                let peer = peer.to_canonical();
                networks.iter().any(|network| network.contains(&peer))
            }
        }
    }
}

/// Reads a network as an operator writes it.
///
/// # Errors
/// It is none; the text says what is wanted.
pub fn network(text: &str) -> Result<IpNet, &'static str> {
    text.parse().map_err(|_| {
        let address = text.split_once('/').map(|(address, _)| address.parse());
        match address {
            Some(Ok(IpAddr::V4(_))) => "the prefix of an IPv4 network is at most 32",
            Some(Ok(IpAddr::V6(_))) => "the prefix of an IPv6 network is at most 128",
            _ => "a network is wanted, such as 10.0.0.0/8 or fd00::/8",
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_network_is_told_what_is_wrong_with_it() {
        assert_eq!(network("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        assert_eq!(network("fd00::/8"), Ok("fd00::/8".parse().unwrap()));
        for (text, said) in [
            ("1.2.3.4/99", "IPv4 network is at most 32"),
            ("1.2.3.4/x", "IPv4 network is at most 32"),
            ("fd00::/129", "IPv6 network is at most 128"),
            ("1.2.3.4", "a network is wanted"),
            ("local/8", "a network is wanted"),
            ("", "a network is wanted"),
        ] {
            let error = network(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
