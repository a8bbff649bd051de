//! The edge of this process for WebSockets that a gateway holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use portside_crds::sidecar::{
    HELD_HEADER, HOLDS, HOLDS_HEADER, KEPT, RECONNECTED_HEADER, REOPENED,
};
use portside_exchange::envelope::Envelope;
use portside_exchange::{Delivery, Lasts, Message, Response, Socket, SocketSender};
use tokio::time::timeout;

use crate::count::{Count, One};

/// A client's messages on their way to the application before the client has to wait.
const WINDOW: usize = 64;

/// How long the code may go on to say something on a WebSocket whose client is about to go on elsewhere.
const SAYING: Duration = Duration::from_secs(1);

/// How long it may take after that until all have left.
const LEAVING: Duration = Duration::from_secs(3);

/// Takes off a request's headers whether whoever sends it can hold a WebSocket. Whether it opens one again stays for the code.
pub fn holds(headers: &mut HeaderMap) -> bool {
    let holds = headers.remove(HOLDS_HEADER);
    let holds = holds.is_some_and(|value| value.as_bytes() == HOLDS.as_bytes());
    if !holds {
        headers.remove(RECONNECTED_HEADER);
    }
    holds
}

/// WebSockets that a gateway holds, and that have their way through this process.
#[derive(Default)]
pub struct Ways {
    state: Mutex<State>,
    open: Count,
}

#[derive(Default)]
struct State {
    all: Vec<Weak<Way>>,
    /// When there are as many, those that are over are looked for.
    look_at: usize,
    /// All are to leave, those that come later, too.
    depart: bool,
}

/// The application's side of one.
struct Way {
    incoming: Mutex<SocketSender>,
    _one: One,
}

impl Way {
    fn incoming(&self) -> MutexGuard<'_, SocketSender> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depart(&self, now: bool) {
        let depart = Envelope::Depart { now }.seal();
        self.incoming().forward(Delivery::unlimited(depart), false);
    }
}

impl Ways {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, socket: Socket) -> Socket {
        let way = Arc::new(Way {
            incoming: Mutex::new(socket.incoming),
            _one: self.open.one(),
        });
        let departs = {
            let mut state = self.lock();
            if state.all.len() >= state.look_at {
                state.all.retain(|way| way.strong_count() > 0);
                state.look_at = (2 * state.all.len()).max(64);
            }
            state.all.push(Arc::downgrade(&way));
            state.depart
        };
        if departs {
            way.depart(true);
        }
        let incoming = SocketSender::new(WINDOW, move |delivery| {
            let is_last = matches!(delivery.message, Message::Close { .. });
            way.incoming().forward(delivery, is_last);
        });
        Socket {
            outgoing: socket.outgoing,
            incoming,
            lasts: Lasts::Held,
        }
    }

    /// Has all of them leave, and those that come later. Returns when they have, or some seconds later: those that have not are lost
    /// with the process.
    pub async fn depart(&self) {
        self.lock().depart = true;
        for (now, patience) in [(false, SAYING), (true, LEAVING)] {
            let all = self.lock().all.clone();
            for way in all.iter().filter_map(Weak::upgrade) {
                way.depart(now);
            }
            if timeout(patience, self.open.none()).await.is_ok() {
                return;
            }
        }
        tracing::warn!("some WebSockets did not leave in time");
    }
}

/// Makes a response one for whoever has asked: with a WebSocket that is held, if they can, else with an ordinary one.
pub fn at_the_edge(response: &mut Response, holds: bool, reopened: &Ways, kept: &Ways) {
    // Only a pod says it.
    response.headers.remove(HELD_HEADER);
    let Some(socket) = response.socket.take() else {
        return;
    };
    let (ways, word) = match socket.lasts {
        Lasts::Reopened if holds => (reopened, REOPENED),
        Lasts::Kept if holds => (kept, KEPT),
        _ => {
            response.socket = Some(socket.plain());
            return;
        }
    };
    response.socket = Some(ways.add(socket));
    let word = HeaderValue::from_static(word);
    response.headers.insert(HELD_HEADER, word);
}
