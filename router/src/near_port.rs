//! A port to a worker of this pod, whose opener is in another.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use portside_exchange::credit::Credit;
use portside_wire::driver::Place;
use portside_wire::frame::{self, Refusal};
use portside_worker::event::Incoming;
use portside_worker::host::RequestName;
use portside_worker::link::{
    CloseReason, Failure, Frame, Kind, LinkEnd, LinkId, Moved, Opening, Receive, Rejected,
};

use crate::line::{Heard, Listener};
use crate::near_call::Near;
use crate::offers::not_here;
use crate::outgoing::Outgoing;

/// Messages that the code has heard are told to the opener when there are so many, or none is left that it has not.
const HEARD_AT_ONCE: u64 = 16;

/// A port whose opener is in another pod.
pub(crate) struct NearPort {
    itself: Weak<Self>,
    /// The worker's end.
    end: LinkId,
    /// Who reads there, once the port is open.
    target: OnceLock<Arc<dyn Receive>>,
    credit: Arc<Credit>,
    state: Mutex<State>,
}

struct State {
    outgoing: Outgoing,
    /// Why it could not be opened, until it is.
    refused: Option<Failure>,
    /// Messages that the target has got, and how many of them its code has heard, and the opener knows that it has.
    received: u64,
    heard: u64,
    told: u64,
    /// The target takes no more messages here. What of them is dropped from now on its code has not heard.
    gone: bool,
}

impl NearPort {
    /// Opens a port that another pod has opened to a worker of this one, and takes or refuses the link.
    pub fn open(near: &Near<'_>) {
        let (offer, accepted) = (near.offer, near.accepted);
        let opening = &offer.opening;
        let end = LinkId::of_new_link().other();
        let port = Arc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            end,
            target: OnceLock::new(),
            credit: Arc::default(),
            state: Mutex::new(State {
                outgoing: Outgoing::new(offer.line().clone(), offer.link()),
                refused: None,
                received: 0,
                heard: 0,
                told: 0,
                gone: false,
            }),
        });
        let to = &opening.to;
        let opening = Opening {
            request: opening.request.clone(),
            reconnected: opening.reconnected,
            ..Opening::new(Kind::Port, LinkEnd::new(end, Arc::new(Far(port.clone()))))
        };
        match near.here.open(to, opening) {
            Ok(Some(target)) => {
                let _ = port.target.set(target);
                offer.accept(accepted, port.clone());
                let _ = port.lock().outgoing.taken();
            }
            Err(_) => offer.refuse(not_here(accepted.epoch)),
            Ok(None) => {
                let refused = port.lock().refused.take();
                let refused = refused.unwrap_or_else(|| Failure::unavailable("it is gone"));
                offer.refuse(Refusal::Failed(refused));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: frame::Frame) {
        let too_long = self.lock().outgoing.send(frame, None);
        debug_assert!(too_long.is_none(), "it has no payload");
    }

    /// A message of the opener's.
    fn message(
        &self,
        target: &dyn Receive,
        data: Vec<u8>,
        request: Option<RequestName>,
        room: Place,
    ) {
        let unheard = Unheard {
            port: self.itself.clone(),
            _room: room,
        };
        let frame = Frame::Message {
            place: self.credit.take(data.len()).with(unheard),
            data,
            request,
        };
        let link = self.end;
        match target.receive(Incoming::Frame { link, frame }) {
            Ok(()) => {}
            // That the target is gone, or leaves, it says itself.
            Err(Rejected::Closed(_unheard)) => {
                self.lock().gone = true;
                return;
            }
            Err(Rejected::Full(_)) => {
                let failure = Failure::overloaded("the worker's inbox is full");
                self.send(frame::Frame::Failed(failure));
            }
        }
        let mut state = self.lock();
        state.received += 1;
        state.tell_heard();
    }

    fn tell_target(&self, incoming: impl FnOnce(LinkId) -> Incoming) {
        if let Some(target) = self.target.get() {
            // Who is gone needs no telling.
            let _ = target.receive(incoming(self.end));
        }
    }
}

impl State {
    /// Tells the opener what the code has heard.
    fn tell_heard(&mut self) {
        let untold = self.heard - self.told;
        let is_all = self.heard == self.received;
        if untold >= HEARD_AT_ONCE || (untold > 0 && is_all) {
            self.told = self.heard;
            let _ = self.outgoing.send(frame::Frame::Heard(self.heard), None);
        }
    }
}

/// A message that the target's code has not heard, until this is dropped.
struct Unheard {
    port: Weak<NearPort>,
    _room: Place,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(port) = self.port.upgrade() {
            let mut state = port.lock();
            if !state.gone {
                state.heard += 1;
                state.tell_heard();
            }
        }
    }
}

impl Listener for NearPort {
    fn hear(&self, heard: Heard) {
        match heard {
            Heard::Frame(frame, room) => {
                match (frame, self.target.get()) {
                    (frame::Frame::Message { data, request }, Some(target)) => {
                        self.message(&**target, data.into(), request, room);
                    }
                    (frame::Frame::Parted(reason), _) => {
                        self.tell_target(|link| Incoming::Closed { link, reason });
                    }
                    (frame::Frame::Failed(failure), _) => {
                        let frame = Frame::Failed(failure);
                        self.tell_target(|link| Incoming::Frame { link, frame });
                    }
                    // Nothing else comes on a port.
                    _ => {}
                }
            }
            Heard::Room => {
                let _ = self.lock().outgoing.flush();
            }
            Heard::Closed(reason) => self.tell_target(|link| Incoming::Closed { link, reason }),
            // Not said to whom a link is opened.
            Heard::Accepted | Heard::Refused(_) => {}
        }
    }
}

/// The port's opener, as the worker reaches it.
struct Far(Arc<NearPort>);

impl Receive for Far {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let mut state = self.0.lock();
        match incoming {
            Incoming::Frame { frame, .. } => match frame {
                Frame::Message {
                    data,
                    place,
                    request,
                } => {
                    let data = data.into();
                    let frame = frame::Frame::Message { data, request };
                    let too_long = state.outgoing.send(frame, Some(place));
                    drop(state);
                    if let Some(error) = too_long {
                        let frame = Frame::Failed(Failure::failed(error.to_string()));
                        self.0.tell_target(|link| Incoming::Frame { link, frame });
                    }
                }
                Frame::Failed(failure) => {
                    state.refused.get_or_insert_with(|| failure.clone());
                    let _ = state.outgoing.send(frame::Frame::Failed(failure), None);
                }
                // Nothing else is sent on a port.
                _ => {}
            },
            Incoming::Closed { reason, .. } => state.outgoing.close(reason),
            other => return Err(Rejected::Closed(other)),
        }
        Ok(())
    }

    fn moved(&self, moved: Moved) {
        let mut state = self.0.lock();
        let (connected, heard) = (moved.connected, state.heard);
        let frame = frame::Frame::Moved { connected, heard };
        let _ = state.outgoing.send(frame, None);
        state.outgoing.close(CloseReason::Lost);
    }
}

/// The worker has let go of the port, and so has heard all that it wanted to.
impl Drop for Far {
    fn drop(&mut self) {
        self.0.lock().outgoing.close(CloseReason::Closed);
    }
}
