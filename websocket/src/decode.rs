//! Frames from the peer become messages (RFC 6455 sections 5 and 8.1).

use bytes::{Buf, Bytes, BytesMut};
use portside_exchange::Message;

use crate::{Role, code, deflate, mask, opcode};

/// The peer's mistake, which ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The close code that the peer is to get.
    pub code: u16,
    /// The reason that it is to get.
    pub reason: &'static str,
}

impl Violation {
    pub(crate) const TOO_BIG: Self = Self {
        code: code::TOO_BIG,
        reason: "the message is too big",
    };

    const fn protocol(reason: &'static str) -> Self {
        Self {
            code: code::PROTOCOL_ERROR,
            reason,
        }
    }

    const NOT_TEXT: Self = Self {
        code: code::INVALID_DATA,
        reason: "the text is not UTF-8",
    };
}

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message, or the close: 1005 if it has no code.
    Message(Message),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// An answer to a ping.
    Pong,
}

/// Takes bytes as they come and gives events. Holds no memory between messages, and in a message at most the limit of
/// what it may have in all its fragments, and the bytes that were put in ahead.
pub struct Decoder {
    role: Role,
    buffer: BytesMut,
    /// The fragments so far of an unfinished message.
    fragments: Option<Fragments>,
    max_message: usize,
    deflate: bool,
}

struct Fragments {
    text: bool,
    compressed: bool,
    bytes: BytesMut,
}

struct Head {
    fin: bool,
    compressed: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Bytes of the head itself.
    size: usize,
    payload: usize,
}

impl Decoder {
    /// For this end of a connection. A message of more than `max_message` bytes, decompressed, is a [`Violation`], and so
    /// is a compressed one unless both ends agreed to `deflate`.
    #[must_use]
    pub fn new(role: Role, max_message: usize, deflate: bool) -> Self {
        Self {
            role,
            buffer: BytesMut::new(),
            fragments: None,
            max_message,
            deflate,
        }
    }

    /// Where to put more bytes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next event of the bytes so far; `None` if they end before it.
    ///
    /// # Errors
    /// The peer broke the protocol. Nothing after it can be read.
    pub fn event(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            let Some(head) = self.head()? else {
                return Ok(None);
            };
            if self.buffer.len() - head.size < head.payload {
                return Ok(None);
            }
            self.buffer.advance(head.size);
            let mut payload = self.buffer.split_to(head.payload);
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            if let Some(key) = head.mask {
                mask(&mut payload, key);
            }
            if head.opcode >= opcode::CLOSE {
                return control(head.opcode, payload.freeze()).map(Some);
            }
            if let Some(message) = self.data(&head, payload)? {
                return Ok(Some(Event::Message(message)));
            }
        }
    }

    /// Parses and checks the head of the next frame.
    fn head(&self) -> Result<Option<Head>, Violation> {
        let [first, second, rest @ ..] = &self.buffer[..] else {
            return Ok(None);
        };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let compressed = first & 0x40 != 0;
        let starts = matches!(opcode, opcode::TEXT | opcode::BINARY);
        if first & 0x30 != 0 || (compressed && !(self.deflate && starts)) {
            return Err(Violation::protocol("a reserved bit is set"));
        }
        match (self.role, second & 0x80 != 0) {
            (Role::Server, false) => return Err(Violation::protocol("the frame is not masked")),
            (Role::Client, true) => return Err(Violation::protocol("the frame is masked")),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        let short = second & 0x7f;
        match opcode {
            opcode::CONTINUATION if self.fragments.is_none() => {
                return Err(Violation::protocol("there is nothing to continue"));
            }
            opcode::TEXT | opcode::BINARY if self.fragments.is_some() => {
                return Err(Violation::protocol("the message before is not finished"));
            }
            opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => {}
            opcode::CLOSE | opcode::PING | opcode::PONG if fin && short <= 125 => {}
            opcode::CLOSE | opcode::PING | opcode::PONG => {
                return Err(Violation::protocol(
                    "the control frame is long or fragmented",
                ));
            }
            _ => return Err(Violation::protocol("the frame type is unknown")),
        }
        let (payload, extra) = match (short, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8)
            }
            (126 | 127, _) => return Ok(None),
            _ => (u64::from(short), 0),
        };
        if (extra == 2 && payload < 126) || (extra == 8 && payload < 0x1_0000) {
            return Err(Violation::protocol(
                "the length is not in its shortest form",
            ));
        }
        let before = self
            .fragments
            .as_ref()
            .map_or(0, |message| message.bytes.len());
        let payload = usize::try_from(payload)
            .ok()
            .filter(|payload| *payload <= self.max_message.saturating_sub(before).max(125))
            .ok_or(Violation::TOO_BIG)?;
        let mask = match (self.role, rest.get(extra..extra + 4)) {
            (Role::Client, _) => None,
            (Role::Server, Some(&[a, b, c, d])) => Some([a, b, c, d]),
            (Role::Server, _) => return Ok(None),
        };
        Ok(Some(Head {
            fin,
            compressed,
            opcode,
            mask,
            size: 2 + extra + mask.map_or(0, |key| key.len()),
            payload,
        }))
    }

    /// Adds a data frame to its message, and gives the message if it is complete.
    fn data(&mut self, head: &Head, payload: BytesMut) -> Result<Option<Message>, Violation> {
        let text = head.opcode == opcode::TEXT;
        match self.fragments.take() {
            None if head.fin => self
                .message(text, head.compressed, payload.freeze())
                .map(Some),
            None => {
                self.fragments = Some(Fragments {
                    text,
                    compressed: head.compressed,
                    bytes: payload,
                });
                Ok(None)
            }
            Some(mut fragments) => {
                fragments.bytes.extend_from_slice(&payload);
                if !head.fin {
                    self.fragments = Some(fragments);
                    return Ok(None);
                }
                let Fragments {
                    text,
                    compressed,
                    bytes,
                } = fragments;
                self.message(text, compressed, bytes.freeze()).map(Some)
            }
        }
    }

    fn message(&self, text: bool, compressed: bool, bytes: Bytes) -> Result<Message, Violation> {
        let bytes = if compressed {
            deflate::inflate(&bytes, self.max_message)?
        } else if bytes.len() > self.max_message {
            return Err(Violation::TOO_BIG);
        } else {
            bytes
        };
        if !text {
            return Ok(Message::Binary(bytes));
        }
        std::str::from_utf8(&bytes).map_err(|_| Violation::NOT_TEXT)?;
        Ok(Message::Text(bytes))
    }
}

fn control(opcode: u8, payload: Bytes) -> Result<Event, Violation> {
    Ok(match opcode {
        // A copy: it waits for the writer, and would hold all that was read with it.
        opcode::PING => Event::Ping(Bytes::copy_from_slice(&payload)),
        opcode::PONG => Event::Pong,
        _ => {
            let (code, reason) = match payload.split_first_chunk::<2>() {
                Some((code, reason)) => (u16::from_be_bytes(*code), reason),
                None if payload.is_empty() => (code::NONE, &[][..]),
                None => return Err(Violation::protocol("the close code is cut off")),
            };
            if code != code::NONE && !code::may_be_sent(code)
                || code == code::NONE && !payload.is_empty()
            {
                return Err(Violation::protocol("the close code must not be sent"));
            }
            let reason = std::str::from_utf8(reason)
                .map_err(|_| Violation::NOT_TEXT)?
                .to_owned();
            Event::Message(Message::Close { code, reason })
        }
    })
}

#[cfg(test)]
mod tests;
