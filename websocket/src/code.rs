//! Close codes (RFC 6455 section 7.4.1 and its registry).

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Never on the wire: the close frame has no code.
pub const NONE: u16 = 1005;
/// Never on the wire: the connection ended without a close frame.
pub const LOST: u16 = 1006;
/// A message is not what it says it is, such as text that is no UTF-8.
pub const INVALID_DATA: u16 = 1007;
/// A message is larger than the receiver takes.
pub const TOO_BIG: u16 = 1009;
/// The server cannot go on.
pub const INTERNAL_ERROR: u16 = 1011;
/// The server starts again: come back soon.
pub const SERVICE_RESTART: u16 = 1012;
/// The server has no room: come back later.
pub const TRY_AGAIN_LATER: u16 = 1013;

/// Whether a close frame may carry it.
#[must_use]
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
