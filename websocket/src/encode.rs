//! Messages become frames: never fragmented, and masked by a client.

use bytes::{BufMut, Bytes, BytesMut};
use portside_exchange::Message;

use crate::deflate::{self, Deflate};
use crate::{Role, code, mask, opcode};

/// Bytes of the longest head of a frame, the masking key included.
const MAX_HEAD: usize = 14;
/// A control frame's longest payload.
const MAX_CONTROL: usize = 125;
/// Payloads from here on are not worth a copy.
const LARGE: usize = 64 << 10;

/// Writes frames into a buffer. Holds no memory.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    role: Role,
    deflate: Option<Deflate>,
}

impl Encoder {
    /// For this end of a connection that agreed on this compression.
    #[must_use]
    pub fn new(role: Role, deflate: Option<Deflate>) -> Self {
        Self { role, deflate }
    }

    /// Appends a message. What is returned is the rest of its frame, which must go right behind the buffer: a payload so
    /// large that copying it is not worth it.
    #[must_use]
    pub fn message(&self, buffer: &mut BytesMut, message: Message) -> Option<Bytes> {
        let (opcode, payload) = match message {
            Message::Text(payload) => (opcode::TEXT, payload),
            Message::Binary(payload) => (opcode::BINARY, payload),
            Message::Close { code, reason } => {
                self.close(buffer, code, &reason);
                return None;
            }
        };
        let compressed = self
            .deflate
            .filter(|_| payload.len() >= deflate::MIN_BYTES)
            .and_then(|deflate| deflate.compress(&payload));
        let (payload, compressed) = match compressed {
            Some(smaller) => (Bytes::from(smaller), true),
            None => (payload, false),
        };
        let key = self.head(buffer, opcode, compressed, payload.len());
        match key {
            None if payload.len() >= LARGE => return Some(payload),
            None => buffer.extend_from_slice(&payload),
            Some(key) => masked(buffer, &payload, key),
        }
        None
    }

    /// Appends a ping. A payload is cut at 125 bytes.
    pub fn ping(&self, buffer: &mut BytesMut, payload: &[u8]) {
        self.control(buffer, opcode::PING, payload);
    }

    /// Appends the answer to a ping. A payload is cut at 125 bytes, which no received one exceeds.
    pub fn pong(&self, buffer: &mut BytesMut, payload: &[u8]) {
        self.control(buffer, opcode::PONG, payload);
    }

    /// Appends a close frame. A code that must not be sent becomes none if it is 1005, and else 1011. A reason is cut at
    /// 123 bytes.
    pub fn close(&self, buffer: &mut BytesMut, status: u16, reason: &str) {
        if status == code::NONE {
            return self.control(buffer, opcode::CLOSE, &[]);
        }
        let status = if code::may_be_sent(status) {
            status
        } else {
            code::INTERNAL_ERROR
        };
        let cut = reason.floor_char_boundary(MAX_CONTROL - 2);
        let payload = [&status.to_be_bytes()[..], &reason.as_bytes()[..cut]].concat();
        self.control(buffer, opcode::CLOSE, &payload);
    }

    fn control(&self, buffer: &mut BytesMut, opcode: u8, payload: &[u8]) {
        let payload = &payload[..payload.len().min(MAX_CONTROL)];
        match self.head(buffer, opcode, false, payload.len()) {
            Some(key) => masked(buffer, payload, key),
            None => buffer.put_slice(payload),
        }
    }

    /// Appends the head of a frame that is a whole message; returns the key that its payload is to be masked with.
    fn head(
        &self,
        buffer: &mut BytesMut,
        opcode: u8,
        compressed: bool,
        len: usize,
    ) -> Option<[u8; 4]> {
        let key = (self.role == Role::Client).then(rand::random::<[u8; 4]>);
        let masked = if key.is_some() { 0x80 } else { 0 };
        buffer.reserve(MAX_HEAD);
        buffer.put_u8(0x80 | if compressed { 0x40 } else { 0 } | opcode);
        match len {
            0..126 => buffer.put_u8(masked | u8::try_from(len).unwrap_or_default()),
            126..0x1_0000 => {
                buffer.put_u8(masked | 126);
                buffer.put_u16(u16::try_from(len).unwrap_or_default());
            }
            _ => {
                buffer.put_u8(masked | 127);
                buffer.put_u64(len as u64);
            }
        }
        if let Some(key) = key {
            buffer.put_slice(&key);
        }
        key
    }
}

fn masked(buffer: &mut BytesMut, payload: &[u8], key: [u8; 4]) {
    let start = buffer.len();
    buffer.extend_from_slice(payload);
    mask(&mut buffer[start..], key);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Encoder = Encoder {
        role: Role::Server,
        deflate: None,
    };

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
            assert_eq!(SERVER.head(&mut buffer, opcode::BINARY, false, len), None);
            assert_eq!(buffer, expected);
        }
    }

    #[test]
    fn a_close_frame_says_only_what_it_may() {
        let mut buffer = BytesMut::new();
        SERVER.close(&mut buffer, 1005, "ignored");
        assert_eq!(buffer, &[0x88, 0][..]);
        buffer.clear();
        SERVER.close(&mut buffer, 1006, "");
        assert_eq!(buffer, &[0x88, 2, 0x03, 0xf3][..]);
        buffer.clear();
        SERVER.close(&mut buffer, 4000, &"ä".repeat(100));
        // 61 letters of two bytes are the most that fit.
        assert_eq!(buffer[1], 2 + 122);
    }

    #[test]
    fn a_client_masks_each_frame_with_another_key() {
        let client = Encoder::new(Role::Client, None);
        let mut buffer = BytesMut::new();
        let text = Message::Text(Bytes::from_static(b"text"));
        assert_eq!(client.message(&mut buffer, text.clone()), None);
        assert_eq!(client.message(&mut buffer, text), None);
        let (first, second) = buffer.split_at(10);
        for frame in [first, second] {
            assert_eq!(frame[..2], [0x81, 0x84]);
            let mut payload = frame[6..].to_vec();
            mask(&mut payload, frame[2..6].try_into().unwrap());
            assert_eq!(payload, b"text");
        }
        assert_ne!(first[2..6], second[2..6]);
    }

    #[test]
    fn only_what_is_not_masked_goes_uncopied() {
        let large = Message::Binary(vec![7; LARGE].into());
        let mut buffer = BytesMut::new();
        let rest = SERVER.message(&mut buffer, large.clone());
        assert_eq!(
            (buffer.len(), rest.map(|rest| rest.len())),
            (10, Some(LARGE))
        );
        buffer.clear();
        let client = Encoder::new(Role::Client, None);
        assert_eq!(client.message(&mut buffer, large), None);
        assert_eq!(buffer.len(), 14 + LARGE);
    }
}
