//! Ways to clients that end, and others that take their places.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use portside_core::ids::WorkerKey;
use portside_exchange::envelope::Envelope;
use portside_exchange::{Delivery, Message};

use super::{
    Closing, Counts, Entry, Far, Kept, MOST_SOCKETS, NEXT_SOCKET, SocketId, Sockets, State,
    TooMany, close, credit_of_client, end_entry,
};
use crate::link::{CloseReason, Content, Failure, Frame, Head, LinkEnd};

impl Sockets {
    /// The object hears a message that came on this way. Nothing of one that was left already, nor of a socket that is gone.
    pub(super) fn heard(&self, socket: SocketId, binding: u64) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.all.get_mut(&socket) else {
            return false;
        };
        if entry.binding == binding {
            entry.counts.hear();
            state.heard.insert(socket);
            return true;
        }
        entry.left.is_none_or(|left| binding > left)
    }

    /// Tells those who hold clients how much was heard.
    pub(crate) fn report(&self) {
        self.lock().report();
    }

    /// What is to be kept of a socket now, for whoever holds its client.
    pub(crate) fn kept(&self, socket: SocketId) -> Option<Message> {
        let state = self.lock();
        let entry = state.all.get(&socket)?;
        state.envelope(&self.address, entry)
    }

    /// The way to the client is about to end: the socket is to be brought back by another.
    pub(super) fn depart(self: &Arc<Self>, socket: SocketId, binding: u64) {
        let mut state = self.lock();
        let entry = state.all.get(&socket);
        let Some(entry) = entry.filter(|entry| entry.binding == binding) else {
            return;
        };
        let (Far::Client(end), heard) = (&entry.far, entry.counts.done()) else {
            return;
        };
        if entry.closing != Closing::default() {
            return; // it ends anyway
        }
        let end = end.clone();
        let Some(kept) = state.envelope(&self.address, entry) else {
            return;
        };
        let binding = state.goes_away(socket, true);
        drop(state);
        self.away.push(self.clone(), socket, binding);
        say_left(&end, kept, heard);
    }

    /// The object stays, though it was about to leave: sockets that nobody hears any more because of that go through whoever holds
    /// their clients, and come straight back with all that the object has not heard. Those that end anyway are heard again, for
    /// their ends.
    pub fn recover(self: &Arc<Self>) {
        let deaf: Vec<_> = {
            let mut state = self.lock();
            let deaf = state.all.iter_mut().filter(|(_, entry)| entry.is_deaf);
            deaf.map(|(socket, entry)| {
                let is_away = matches!(entry.far, Far::Away(..));
                // The others not before they have left: after a gap nothing may be heard.
                entry.is_deaf = !is_away && entry.closing == Closing::default();
                (*socket, entry.binding, is_away)
            })
            .collect()
        };
        for (socket, binding, is_away) in deaf {
            if is_away {
                // Its end may have come when nobody heard it.
                self.away.push(self.clone(), socket, binding);
            } else {
                self.depart(socket, binding);
            }
        }
    }

    /// The way to the client has ended without a word of it. Whoever holds it may bring the socket back.
    pub(super) fn lose_way(self: &Arc<Self>, socket: SocketId, binding: u64) {
        let mut state = self.lock();
        let entry = state.all.get_mut(&socket);
        let Some(entry) = entry.filter(|entry| entry.binding == binding) else {
            return;
        };
        if entry.closing.there {
            return; // it ends anyway
        }
        // It may just have begun, and what is to be said on it be on its way.
        entry.binding += 1;
        let binding = entry.binding;
        if matches!(entry.far, Far::Client(_)) {
            state.goes_away(socket, false);
        }
        drop(state);
        self.away.push(self.clone(), socket, binding);
    }

    /// Nobody has brought the socket back.
    pub(super) fn give_up(self: &Arc<Self>, socket: SocketId, binding: u64) {
        let is_away = |entry: &mut Entry| matches!(entry.far, Far::Away(..));
        if self.with_way(socket, binding, is_away) == Some(true) {
            let lost = Delivery::unlimited(close(1006, ""));
            self.pass_on(socket, binding, lost);
        }
    }

    /// Takes a socket in that was kept, whose client is at `end`, and wakes nobody. It answers as to a request, with the socket.
    /// Says which one it is, unless it is refused.
    pub fn adopt(self: &Arc<Self>, kept: Kept, mut end: LinkEnd) -> Option<SocketId> {
        let mut state = self.lock();
        let known = state.by_token.get(&kept.token).copied();
        if known.is_none() && state.all.len() >= MOST_SOCKETS {
            drop(state);
            end.refuse(Failure::failed(TooMany.to_string()));
            return None;
        }
        if !state.is_set {
            state.auto_response = kept.auto_response;
            state.event_timeout = kept.event_timeout;
            state.is_set = true;
        }
        state.name = state.name.take().or(kept.name);
        let socket = known.unwrap_or_else(|| SocketId(NEXT_SOCKET.fetch_add(1, Ordering::Relaxed)));
        // One that is known here is as the object has left it.
        state.by_token.insert(kept.token, socket);
        let entry = state.all.entry(socket).or_insert_with(|| Entry {
            attachment: kept.attachment.map(Vec::into_boxed_slice),
            answered_at: kept.answered_at,
            ..Entry::new(kept.tags, kept.token)
        });
        entry.binding += 1;
        entry.counts = Counts::default();
        entry.is_deaf = false;
        let binding = entry.binding;
        let before = match &entry.far {
            Far::Client(end) => Some(end.clone()),
            Far::Here(_) | Far::Away(..) => None,
        };
        if !matches!(entry.far, Far::Away(..)) {
            state.goes_away(socket, false);
        }
        drop(state);
        if let Some(before) = before {
            before.close(CloseReason::Lost);
        }
        end.credit = credit_of_client();
        let head = Head {
            status: StatusCode::SWITCHING_PROTOCOLS,
            reason: Bytes::new(),
            headers: HeaderMap::new(),
            content: Content::Hibernatable(self.reader(socket)),
        };
        if end.send(Frame::Head(Box::new(head))).is_err() {
            self.away.push(self.clone(), socket, binding);
        } else {
            self.goes_on(socket, binding, Arc::new(end));
        }
        Some(socket)
    }

    /// Sends on the new way what has waited for it, and then all else.
    fn goes_on(&self, socket: SocketId, binding: u64, end: Arc<LinkEnd>) {
        let kept = self.kept(socket).map(Delivery::unlimited);
        let mut waiting: VecDeque<_> = kept.into_iter().collect();
        loop {
            for delivery in waiting.drain(..) {
                let _ = end.send(Frame::Socket(delivery));
            }
            let mut state = self.lock();
            let entry = state.all.get_mut(&socket);
            let Some(entry) = entry.filter(|entry| entry.binding == binding) else {
                drop(state);
                // It has left, or there is a newer way.
                return end.close(CloseReason::Lost);
            };
            if let Far::Away(_, more) = &mut entry.far {
                waiting.append(more);
            }
            if waiting.is_empty() {
                if let Some(close) = entry.close.clone() {
                    let _ = end.send(Frame::Socket(Delivery::unlimited(close)));
                }
                entry.far = Far::Client(end);
                state.heard.insert(socket);
                return state.report();
            }
        }
    }

    /// The object leaves for another place, or the process ends: all sockets are to be brought to where the object is then. Nobody
    /// hears anything here any more.
    pub fn leave_all(&self) {
        self.leave(|_, _| true);
    }

    /// One of the sockets is to be brought to where the object is.
    pub fn leave_one(&self, socket: SocketId) {
        self.leave(|it, _| it == socket);
    }

    pub(super) fn leave(&self, which: impl Fn(SocketId, &Entry) -> bool) {
        let mut left = vec![];
        {
            let mut state = self.lock();
            let leaves =
                |(socket, entry): (&SocketId, &Entry)| which(*socket, entry).then_some(*socket);
            let sockets: Vec<_> = state.all.iter().filter_map(leaves).collect();
            for socket in sockets {
                let kept = state.all.get(&socket);
                let kept = kept.and_then(|entry| state.envelope(&self.address, entry));
                left.extend(state.remove(socket).map(|entry| (entry, kept)));
            }
        }
        for (entry, kept) in left {
            match (&entry.far, kept) {
                (Far::Client(end), Some(kept)) if entry.closing == Closing::default() => {
                    say_left(end, kept, entry.counts.done());
                }
                _ => end_entry(entry, close(1012, "the object is to be had elsewhere")),
            }
        }
    }
}

impl State {
    /// Tells those who hold clients how much was heard. Under the lock: else a lower count could follow a higher one, and that
    /// would be taken for a lie.
    pub(super) fn report(&mut self) {
        for socket in std::mem::take(&mut self.heard) {
            let entry = self.all.get(&socket);
            if let Some((Far::Client(end), counts)) = entry.map(|it| (&it.far, &it.counts)) {
                let heard = Delivery::unlimited(Envelope::Heard(counts.done()).seal());
                let _ = end.send(Frame::Socket(heard));
            }
        }
    }

    /// What is to be kept of a socket, as it is sent; nothing if that is too much.
    fn envelope(&self, address: &WorkerKey, entry: &Entry) -> Option<Message> {
        let kept = Kept {
            address: address.clone(),
            token: entry.token,
            name: self.name.clone(),
            tags: entry.tags.iter().map(|tag| tag.to_string()).collect(),
            attachment: entry.attachment.as_deref().map(Vec::from),
            answered_at: entry.answered_at,
            auto_response: self.auto_response.clone(),
            event_timeout: self.event_timeout,
        };
        Some(Envelope::State(kept.encode()?).seal())
    }

    /// The way of a socket is over; `is_left`: whoever holds the client is told what was heard on it. Returns the number of what
    /// it has instead.
    fn goes_away(&mut self, socket: SocketId, is_left: bool) -> u64 {
        let Some(entry) = self.all.get_mut(&socket) else {
            return 0;
        };
        entry.far = Far::Away(credit_of_client(), VecDeque::new());
        if is_left {
            entry.left = Some(entry.binding);
            entry.binding += 1;
            entry.counts = Counts::default();
            entry.is_deaf = false;
        }
        entry.binding
    }
}

/// Says to whoever holds a client that the object is to be had elsewhere.
fn say_left(end: &LinkEnd, kept: Message, heard: u64) {
    for message in [kept, Envelope::Left(heard).seal()] {
        let _ = end.send(Frame::Socket(Delivery::unlimited(message)));
    }
}
