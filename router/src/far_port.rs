//! A port to a worker of another pod, in the pod of its opener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use portside_core::ids::{Epoch, ShardId, WorkerKey};
use portside_exchange::credit;
use portside_wire::connection::{LinkNumber, OpenError, SendError};
use portside_wire::driver::Place;
use portside_wire::frame::{self, Refusal};
use portside_worker::event::Incoming;
use portside_worker::host::RequestName;
use portside_worker::link::{
    CloseReason, Failure, Frame, LinkEnd, Opening, Receive, Rejected, Undelivered,
};

use crate::line::{Heard, Line, Listener, place};
use crate::places::{At, Places};

/// A port whose target is in another pod. It keeps what the target's code has not heard: when the target leaves that pod,
/// or was not there, whoever opened the port sends it to the next.
pub(crate) struct FarPort {
    line: Arc<Line>,
    link: LinkNumber,
    /// The target's end, as the opener gave it: how the opener is reached.
    end: LinkEnd,
    places: Arc<dyn Places>,
    shard: ShardId,
    /// In which the target's pod was believed to have the shard.
    epoch: Epoch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unheard: VecDeque<Message>,
    /// How many of those are sent.
    sent: usize,
    /// How many the target's code has heard.
    heard: u64,
    /// The opener has closed the port.
    parted: Option<CloseReason>,
    parted_sent: bool,
    over: bool,
}

struct Message {
    data: Bytes,
    request: Option<RequestName>,
    place: credit::Place,
}

impl FarPort {
    /// Opens a port to the worker at that place.
    ///
    /// # Errors
    /// The connection does not take it; the opening comes back.
    pub fn open(
        at: &At,
        places: &Arc<dyn Places>,
        to: &WorkerKey,
        shard: ShardId,
        opening: Opening,
    ) -> Result<Arc<Self>, (OpenError, Opening)> {
        let wire = frame::Opening {
            to: to.clone(),
            epoch: at.epoch,
            kind: frame::Kind::Port,
            name: None,
            reached: None,
            request: opening.request.clone(),
            reconnected: opening.reconnected,
        };
        let (mut opening, mut port) = (Some(opening), None);
        let opened = at.line.open(wire, |link| {
            let end = opening.take().map_or_else(LinkEnd::unopened, |it| it.end);
            let new = Arc::new(Self {
                line: at.line.clone(),
                link,
                end,
                places: places.clone(),
                shard,
                epoch: at.epoch,
                state: Mutex::default(),
            });
            port = Some(new.clone());
            new
        });
        match (opened, port, opening) {
            (Ok(()), Some(port), _) => Ok(port),
            (Err(error), _, Some(opening)) => Err((error, opening)),
            _ => unreachable!("it is open, or the opening is still there"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what there is room for.
    fn flush(&self, mut state: MutexGuard<'_, State>) {
        if state.over {
            return;
        }
        let mut too_long = None;
        while let Some(Message { data, request, .. }) = state.unheard.get(state.sent) {
            let frame = frame::Frame::Message {
                data: data.clone(),
                request: request.clone(),
            };
            match self.line.send(self.link, frame) {
                Ok(()) => state.sent += 1,
                Err(error @ SendError::TooLong { .. }) => {
                    let sent = state.sent;
                    state.unheard.remove(sent);
                    too_long = Some(error);
                }
                // Of room, or that the link is over, this hears.
                Err(_) => break,
            }
        }
        if state.sent == state.unheard.len()
            && !state.parted_sent
            && let Some(reason) = state.parted
        {
            state.parted_sent = true;
            let _ = self.line.send(self.link, frame::Frame::Parted(reason));
        }
        drop(state);
        if let Some(error) = too_long {
            let _ = self
                .end
                .send(Frame::Failed(Failure::failed(error.to_string())));
        }
    }

    /// The target's code has heard so many messages in all.
    fn heard(&self, total: u64) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let news = total.saturating_sub(state.heard);
        let news = state.sent.min(usize::try_from(news).unwrap_or(usize::MAX));
        state.heard = state.heard.max(total);
        state.sent -= news;
        state.unheard.drain(..news);
        state
    }

    /// The target is elsewhere: whoever opened the port opens it there.
    fn moved(&self, mut state: MutexGuard<'_, State>, connected: bool) {
        state.over = true;
        let link = self.end.id;
        let unheard = std::mem::take(&mut state.unheard);
        let parted = state.parted;
        // Not under the lock: what is sent meanwhile is kept by whoever opens it again.
        drop(state);
        let unheard = unheard.into_iter().map(|message| {
            let Message {
                data,
                request,
                place,
            } = message;
            let frame = Frame::Message {
                data: data.into(),
                place,
                request,
            };
            Incoming::Frame { link, frame }
        });
        let parted = parted.map(|reason| Incoming::Closed { link, reason });
        self.end.moved(connected, unheard.chain(parted).collect());
    }

    fn frame(&self, frame: frame::Frame, room: Place) {
        if self.lock().over {
            return; // whoever has left says nothing more
        }
        match frame {
            frame::Frame::Message { data, request } => {
                let frame = Frame::Message {
                    data: data.into(),
                    place: place(room),
                    request,
                };
                if self.end.send(frame) == Err(Undelivered::Overloaded) {
                    let failure = Failure::overloaded("the worker's inbox is full");
                    let _ = self.line.send(self.link, frame::Frame::Failed(failure));
                }
            }
            frame::Frame::Failed(failure) => {
                let _ = self.end.send(Frame::Failed(failure));
            }
            frame::Frame::Heard(total) => drop(self.heard(total)),
            frame::Frame::Moved { connected, heard } => {
                let state = self.heard(heard);
                self.moved(state, connected);
            }
            // Nothing else comes on a port.
            _ => {}
        }
    }

    /// Whether it was not over before.
    fn ends(&self) -> bool {
        let mut state = self.lock();
        state.unheard.clear();
        !std::mem::replace(&mut state.over, true)
    }
}

impl Receive for FarPort {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let mut state = self.lock();
        if state.over {
            return Err(Rejected::Closed(incoming));
        }
        match incoming {
            Incoming::Frame {
                frame:
                    Frame::Message {
                        data,
                        place,
                        request,
                    },
                ..
            } => {
                let data = data.into();
                state.unheard.push_back(Message {
                    data,
                    request,
                    place,
                });
            }
            Incoming::Closed { reason, .. } => {
                state.parted.get_or_insert(reason);
            }
            Incoming::Frame {
                frame: Frame::Failed(failure),
                ..
            } => {
                let _ = self.line.send(self.link, frame::Frame::Failed(failure));
            }
            // Nothing else is sent on a port.
            _ => return Ok(()),
        }
        self.flush(state);
        Ok(())
    }
}

impl Listener for FarPort {
    fn hear(&self, heard: Heard) {
        match heard {
            Heard::Accepted => {}
            Heard::Refused(Refusal::NotOwner { .. }) => {
                self.places.misdirected(self.shard, self.epoch);
                self.moved(self.lock(), false);
            }
            Heard::Refused(Refusal::Failed(failure)) => {
                if self.ends() {
                    self.end.refuse(failure);
                }
            }
            Heard::Frame(frame, room) => self.frame(frame, room),
            Heard::Room => self.flush(self.lock()),
            Heard::Closed(reason) => {
                if self.ends() {
                    self.end.close(reason);
                }
            }
        }
    }
}
