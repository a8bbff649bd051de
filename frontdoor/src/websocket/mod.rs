//! WebSockets (RFC 6455) with compression (RFC 7692), server side.
//!
//! The codec is our own. Of the maintained crates, tungstenite and fastwebsockets have no
//! `permessage-deflate`, and yawc neither closes with 1007 or 1002 where the standard wants that nor reads lists
//! of extension offers. It is also the place where memory per idle socket and cost per message are decided.

mod decode;
mod deflate;
mod encode;
mod handshake;
mod pump;

pub(crate) use handshake::{Accepted, Handshake, handshake};
pub(crate) use pump::run;

/// Frame types (RFC 6455 section 5.2).
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// Close codes (RFC 6455 section 7.4.1).
mod code {
    pub(super) const PROTOCOL_ERROR: u16 = 1002;
    /// Never on the wire: the close frame has no code.
    pub(super) const NONE: u16 = 1005;
    pub(super) const INVALID_DATA: u16 = 1007;
    pub(super) const TOO_BIG: u16 = 1009;
    pub(super) const INTERNAL_ERROR: u16 = 1011;

    /// Whether a close frame may carry it.
    pub(super) fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}
