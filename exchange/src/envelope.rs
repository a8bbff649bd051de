//! What passes on a WebSocket that may outlive the connection it came by, between whoever holds the client and the application.
//!
//! All of it is messages of a WebSocket, so that what lies between the two passes it on and knows nothing of it: a text is a
//! client's or the application's, as it is; of bytes the first says what they are. A close that is not in an envelope is the end of
//! the way between the two, and nothing that either has said.
//!
//! Each side counts what it gets on one way: the application says how many of the client's messages, its close included, its
//! code has heard. Whoever holds the client keeps the others, and gives them to the next one.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Message;

/// Bytes of what whoever holds the client keeps for the application.
pub const MAX_STATE_BYTES: usize = 32 << 10;

/// Bytes that an envelope adds to a message.
pub const OVERHEAD_BYTES: usize = 1;

/// Bytes of a close's reason: more than a client may see, for some are for the application only.
const MAX_REASON_BYTES: usize = 1 << 10;

mod kinds {
    pub const BYTES: u8 = 0;
    pub const CLOSE: u8 = 1;
    pub const HEARD: u8 = 2;
    pub const STATE: u8 = 3;
    pub const LEFT: u8 = 4;
    pub const DEPART: u8 = 5;
    pub const DEPART_NOW: u8 = 6;
}

/// What one of the two says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// The client's message, or the application's; a close is the last.
    Message(Message),
    /// The application's code has heard so many messages on this way.
    Heard(u64),
    /// What is to be kept for the application, in the place of what it said before; only it knows what that means.
    State(Bytes),
    /// The application is to be found elsewhere. So many messages were heard, and nothing follows.
    Left(u64),
    /// For the application: this way ends soon. It is to leave, at once if need be.
    Depart {
        /// It has had its time to say what it has to.
        now: bool,
    },
}

/// Nothing follows on this way: it ended, or what came is no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the way to the other side ended: {0}")]
pub struct Ended(pub &'static str);

impl Envelope {
    /// As it is sent.
    #[must_use]
    pub fn seal(self) -> Message {
        match self {
            Self::Message(text @ Message::Text(_)) => text,
            Self::Message(Message::Binary(bytes)) => sealed(kinds::BYTES, &bytes),
            Self::Message(Message::Close { code, reason }) => {
                let mut end = reason.len().min(MAX_REASON_BYTES);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                let mut bytes = BytesMut::with_capacity(3 + end);
                bytes.put_u8(kinds::CLOSE);
                bytes.put_u16(code);
                bytes.put_slice(&reason.as_bytes()[..end]);
                Message::Binary(bytes.freeze())
            }
            Self::Heard(messages) => sealed(kinds::HEARD, &messages.to_be_bytes()),
            Self::State(state) => sealed(kinds::STATE, &state),
            Self::Left(messages) => sealed(kinds::LEFT, &messages.to_be_bytes()),
            Self::Depart { now: false } => sealed(kinds::DEPART, &[]),
            Self::Depart { now: true } => sealed(kinds::DEPART_NOW, &[]),
        }
    }

    /// Reads what was sent.
    ///
    /// # Errors
    /// It is no envelope: nothing more can be understood.
    pub fn open(message: Message) -> Result<Self, Ended> {
        let mut bytes = match message {
            text @ Message::Text(_) => return Ok(Self::Message(text)),
            Message::Close { .. } => return Err(Ended("it was closed")),
            Message::Binary(bytes) => bytes,
        };
        if bytes.is_empty() {
            return Err(Ended("there is nothing in an envelope"));
        }
        let kind = bytes.split_to(1);
        match kind[0] {
            kinds::BYTES => Ok(Self::Message(Message::Binary(bytes))),
            kinds::CLOSE => close(&bytes),
            kinds::HEARD => number(&bytes).map(Self::Heard),
            kinds::STATE if bytes.len() <= MAX_STATE_BYTES => Ok(Self::State(bytes)),
            kinds::STATE => Err(Ended("too much is to be kept")),
            kinds::LEFT => number(&bytes).map(Self::Left),
            kinds::DEPART if bytes.is_empty() => Ok(Self::Depart { now: false }),
            kinds::DEPART_NOW if bytes.is_empty() => Ok(Self::Depart { now: true }),
            _ => Err(Ended("an envelope is of an unknown kind")),
        }
    }

    /// Whether what was sent is the last thing that its sender says: a close, in an envelope or not, or that it has left.
    #[must_use]
    pub fn is_last(message: &Message) -> bool {
        match message {
            Message::Text(_) => false,
            Message::Binary(bytes) => matches!(bytes.first(), Some(&(kinds::CLOSE | kinds::LEFT))),
            Message::Close { .. } => true,
        }
    }

    /// What of this the other side of an ordinary WebSocket gets, which nobody holds.
    pub(crate) fn plain(message: Message) -> Option<Message> {
        match Self::open(message) {
            Ok(Self::Message(message)) => Some(message),
            Ok(Self::Left(_)) => Some(gone("it goes on elsewhere")),
            Ok(Self::Heard(_) | Self::State(_) | Self::Depart { .. }) => None,
            Err(_) => Some(gone("the way to the application ended")),
        }
    }
}

/// What a client is told whom nobody holds, and whose way to the application has ended: it may connect anew.
pub(crate) fn gone(reason: &str) -> Message {
    Message::Close {
        code: 1012,
        reason: reason.to_owned(),
    }
}

fn sealed(kind: u8, bytes: &[u8]) -> Message {
    let mut sealed = BytesMut::with_capacity(1 + bytes.len());
    sealed.put_u8(kind);
    sealed.put_slice(bytes);
    Message::Binary(sealed.freeze())
}

fn close(bytes: &Bytes) -> Result<Envelope, Ended> {
    let (code, reason) = bytes
        .split_first_chunk()
        .ok_or(Ended("a close has no code"))?;
    if reason.len() > MAX_REASON_BYTES {
        return Err(Ended("a close's reason is too long"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Ended("a close's reason is not UTF-8"))?;
    Ok(Envelope::Message(Message::Close {
        code: u16::from_be_bytes(*code),
        reason: reason.to_owned(),
    }))
}

fn number(bytes: &Bytes) -> Result<u64, Ended> {
    let array = bytes[..].try_into().map_err(|_| Ended("not a count"))?;
    Ok(u64::from_be_bytes(array))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        prop_oneof![
            ".{0,40}".prop_map(|text| Message::Text(text.into())),
            bytes().prop_map(Message::Binary),
            (any::<u16>(), ".{0,40}").prop_map(|(code, reason)| Message::Close { code, reason }),
        ]
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let state = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            message().prop_map(Envelope::Message),
            any::<u64>().prop_map(Envelope::Heard),
            state.prop_map(|state| Envelope::State(state.into())),
            any::<u64>().prop_map(Envelope::Left),
            any::<bool>().prop_map(|now| Envelope::Depart { now }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_what_is_opened(envelope in envelope()) {
            let sealed = envelope.clone().seal();
            let is_last = matches!(
                envelope,
                Envelope::Message(Message::Close { .. }) | Envelope::Left(_)
            );
            prop_assert_eq!(Envelope::is_last(&sealed), is_last);
            prop_assert_eq!(Envelope::open(sealed), Ok(envelope));
        }

        /// Whatever is understood is written in one way only, so nothing is understood in two.
        #[test]
        fn what_is_opened_is_what_was_sealed(message in message()) {
            if let Ok(envelope) = Envelope::open(message.clone()) {
                prop_assert_eq!(envelope.seal(), message);
            }
        }
    }

    #[test]
    fn what_is_too_long_or_of_no_kind_ends_the_way() {
        let long = vec![3; 2 + MAX_STATE_BYTES];
        for bytes in [&[][..], &[7], &[5, 0], &[2, 0], &[1, 0], &long] {
            let message = Message::Binary(Bytes::copy_from_slice(bytes));
            assert!(Envelope::open(message).is_err(), "{bytes:?}");
        }
        let reason = "ü".repeat(MAX_REASON_BYTES);
        let long = Message::Close { code: 1000, reason };
        let opened = Envelope::open(Envelope::Message(long).seal()).unwrap();
        let Envelope::Message(Message::Close { reason, .. }) = opened else {
            panic!("{opened:?}");
        };
        assert_eq!(reason.len(), MAX_REASON_BYTES);
    }
}
