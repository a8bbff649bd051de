//! What a client has said on a WebSocket that is held, and the application's code has not heard.

use std::collections::VecDeque;

use portside_exchange::{Delivery, Message};

/// The client's messages that are not known to have been heard, in order. Each has its place in the client's window, so
/// a client whose application does not listen has to wait.
#[derive(Default)]
pub struct Unheard {
    waiting: VecDeque<Delivery>,
    /// How many of those, the first ones, were sent on the present connection.
    sent: usize,
    /// How many messages were heard on it.
    heard: u64,
    /// The last that the client says is among them, or was.
    is_over: bool,
}

/// The pod says that more was heard than it was sent, or less than it said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lies;

impl Unheard {
    /// The client said something.
    pub fn push(&mut self, delivery: Delivery) {
        self.is_over |= matches!(delivery.message, Message::Close { .. });
        self.waiting.push_back(delivery);
    }

    /// The next message that was not sent on the present connection. It counts as sent from now on.
    pub fn next(&mut self) -> Option<Message> {
        let next = self.waiting.get(self.sent)?;
        self.sent += 1;
        Some(next.message.clone())
    }

    /// So many messages of those that were sent on the present connection were heard.
    ///
    /// # Errors
    /// That cannot be; nothing has changed.
    pub fn heard(&mut self, messages: u64) -> Result<(), Lies> {
        let more = messages.checked_sub(self.heard).ok_or(Lies)?;
        let more = usize::try_from(more).map_err(|_| Lies)?;
        if more > self.sent {
            return Err(Lies);
        }
        self.waiting.drain(..more);
        self.sent -= more;
        self.heard = messages;
        Ok(())
    }

    /// Another connection begins: what was not heard is sent there. If nobody has said what was heard of what was sent
    /// before, none of that is sent again: it may have been heard. But a close is, which is the same as often as it is heard.
    pub fn begins_anew(&mut self, is_known: bool) {
        let in_doubt = match is_known {
            true => 0,
            false => {
                let has_close = self.is_over && self.sent == self.waiting.len();
                self.sent.saturating_sub(usize::from(has_close))
            }
        };
        self.waiting.drain(..in_doubt);
        self.sent = 0;
        self.heard = 0;
    }

    /// Whether the client has closed the WebSocket, or is gone.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether all was heard that the client has said.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&'static str]) -> Unheard {
        let mut unheard = Unheard::default();
        for text in texts {
            unheard.push(Delivery::unlimited(Message::Text((*text).into())));
        }
        unheard
    }

    fn rest(unheard: &mut Unheard) -> Vec<String> {
        let next = std::iter::from_fn(|| unheard.next());
        let text = |message| match message {
            Message::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            other => format!("{other:?}"),
        };
        next.map(text).collect()
    }

    #[test]
    fn what_was_not_heard_is_sent_again_in_order_and_nothing_else() {
        let mut unheard = said(&["a", "b", "c", "d"]);
        for _ in 0..3 {
            unheard.next();
        }
        assert_eq!(unheard.heard(1), Ok(()));
        unheard.begins_anew(true);
        assert_eq!(rest(&mut unheard), ["b", "c", "d"]);
        assert_eq!(unheard.heard(3), Ok(()));
        assert!(unheard.is_empty() && !unheard.is_over());
    }

    #[test]
    fn what_is_in_doubt_is_not_sent_again() {
        let mut unheard = said(&["a", "b", "c"]);
        unheard.next();
        unheard.next();
        assert_eq!(unheard.heard(1), Ok(()));
        unheard.begins_anew(false);
        assert_eq!(rest(&mut unheard), ["c"]);
        let code = 1000;
        let reason = String::new();
        unheard.push(Delivery::unlimited(Message::Close { code, reason }));
        for _ in 0..2 {
            assert_eq!(rest(&mut unheard).len(), 1, "the close");
            unheard.begins_anew(false);
        }
    }

    #[test]
    fn who_says_what_cannot_be_changes_nothing() {
        let mut unheard = said(&["a", "b", "c"]);
        unheard.next();
        unheard.next();
        assert_eq!(unheard.heard(2), Ok(()));
        for lie in [0, 1, 3, u64::MAX] {
            assert_eq!(unheard.heard(lie), Err(Lies), "{lie}");
        }
        assert_eq!(unheard.heard(2), Ok(()), "the same again is true");
        assert_eq!(rest(&mut unheard), ["c"]);
    }
}
