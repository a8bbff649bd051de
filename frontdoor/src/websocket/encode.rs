//! Frames to the client: never masked, never fragmented.

use bytes::{BufMut, BytesMut};

use super::{code, opcode};

/// Bytes of the longest head of an unmasked frame.
const MAX_HEAD: usize = 10;
/// A control frame's longest payload.
const MAX_CONTROL: usize = 125;

/// Appends the head of a frame that is a whole message.
pub(super) fn head(buffer: &mut BytesMut, opcode: u8, compressed: bool, len: usize) {
    buffer.reserve(MAX_HEAD);
    buffer.put_u8(0x80 | if compressed { 0x40 } else { 0 } | opcode);
    match len {
        0..126 => buffer.put_u8(u8::try_from(len).unwrap_or_default()),
        126..0x1_0000 => {
            buffer.put_u8(126);
            buffer.put_u16(u16::try_from(len).unwrap_or_default());
        }
        _ => {
            buffer.put_u8(127);
            buffer.put_u64(len as u64);
        }
    }
}

/// Appends a ping or pong. A payload is cut at 125 bytes, which no received one exceeds.
pub(super) fn control(buffer: &mut BytesMut, opcode: u8, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    head(buffer, opcode, false, payload.len());
    buffer.put_slice(payload);
}

/// Appends a close frame. A code that must not be sent becomes none, or 1011 if it is not 1005.
pub(super) fn close(buffer: &mut BytesMut, status: u16, reason: &str) {
    if status == code::NONE {
        return control(buffer, opcode::CLOSE, &[]);
    }
    let status = if code::may_be_sent(status) {
        status
    } else {
        code::INTERNAL_ERROR
    };
    let cut = reason.floor_char_boundary(MAX_CONTROL - 2);
    let payload = [&status.to_be_bytes()[..], &reason.as_bytes()[..cut]].concat();
    control(buffer, opcode::CLOSE, &payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (len, expected) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xffff, &[0x82, 126, 0xff, 0xff]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut buffer = BytesMut::new();
            head(&mut buffer, opcode::BINARY, false, len);
            assert_eq!(buffer, expected);
        }
    }

    #[test]
    fn a_close_frame_says_only_what_it_may() {
        let mut buffer = BytesMut::new();
        close(&mut buffer, 1005, "ignored");
        assert_eq!(buffer, &[0x88, 0][..]);
        buffer.clear();
        close(&mut buffer, 1006, "");
        assert_eq!(buffer, &[0x88, 2, 0x03, 0xf3][..]);
        buffer.clear();
        close(&mut buffer, 4000, &"ä".repeat(100));
        // 61 letters of two bytes are the most that fit.
        assert_eq!(buffer[1], 2 + 122);
    }
}
