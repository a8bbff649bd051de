//! A connection to another pod, and who hears what comes on its links.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use portside_exchange::credit::{self, Credit};
use portside_wire::connection::{Ending, Event, LinkNumber, OpenError, SendError};
use portside_wire::driver::{Driver, Links, Place};
use portside_wire::frame::{Accepted, Frame, Opening, Refusal};
use portside_worker::link::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::offers::{Offer, not_here};
use crate::router::Router;

/// How long a pod that has left is heard when it refuses: one that ended in order answers for a second more.
const REFUSALS: Duration = Duration::from_millis(500);

/// A connection to another pod.
pub struct Line {
    links: Links,
    listening: Mutex<Listening>,
    /// Held while a listener hears something: after the last nothing follows.
    hearing: Mutex<()>,
}

#[derive(Default)]
struct Listening {
    listeners: HashMap<LinkNumber, Arc<dyn Listener>>,
    /// Links that were opened here and that the other pod has neither taken nor refused.
    unanswered: HashSet<LinkNumber>,
    /// The other pod has left: of what it says only refusals are heard.
    has_left: bool,
}

/// What comes on a link.
pub(crate) enum Heard {
    /// The owner has taken it.
    Accepted,
    /// It was not taken. Nothing follows.
    Refused(Refusal),
    /// Something was sent; and what room it takes until that is dropped.
    Frame(Frame, Place),
    /// There is room again.
    Room,
    /// The link is over. Nothing follows.
    Closed(CloseReason),
}

impl Heard {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Closed(_))
    }
}

/// Hears what comes on one link, in order.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Takes it, at once.
    fn hear(&self, heard: Heard);
}

impl Line {
    /// The links of a connection, for whoever serves it to [run](Line::run).
    #[must_use]
    pub fn new(links: Links) -> Arc<Self> {
        let listening = Mutex::default();
        Arc::new(Self {
            links,
            listening,
            hearing: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Listening> {
        let listening = self.listening.lock();
        listening.unwrap_or_else(PoisonError::into_inner)
    }

    /// The links of the connection.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Serves the connection until it is over, and returns why. Links that the other pod opens are offered to the router.
    pub async fn run<S>(self: Arc<Self>, driver: Driver<S>, router: Weak<Router>) -> Ending
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        driver.run(|arrival| self.hear(arrival, &router)).await
    }

    /// The other pod has left in order. What it has taken is lost: nothing more of it is heard, for it may be old. What it has
    /// not taken it may refuse for a while yet, so that it goes elsewhere; then the connection ends. Needs a tokio runtime.
    pub fn leave(self: &Arc<Self>) {
        let hearing = self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        let lost: Vec<_> = {
            let mut listening = self.lock();
            let Listening {
                listeners,
                unanswered,
                has_left,
            } = &mut *listening;
            *has_left = true;
            listeners
                .extract_if(|link, _| !unanswered.contains(link))
                .collect()
        };
        for (link, listener) in lost {
            self.lose(link, &listener);
        }
        drop(hearing);
        let line = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REFUSALS).await;
            line.links.end();
        });
    }

    fn lose(&self, link: LinkNumber, listener: &Arc<dyn Listener>) {
        self.links.close(link, CloseReason::Lost);
        listener.hear(Heard::Closed(CloseReason::Lost));
    }

    fn hear(self: &Arc<Self>, arrival: Event<Place>, router: &Weak<Router>) {
        let (link, heard) = match arrival {
            Event::Opened {
                link,
                opening,
                held,
            } => {
                match router.upgrade().filter(|_| !self.lock().has_left) {
                    Some(router) => router.offered(Offer::new(self, link, *opening, held)),
                    // One of the two ends: nothing of it has run.
                    None => self.links.refuse(link, not_here(opening.epoch)),
                }
                return;
            }
            Event::Accepted { link, .. } => (link, Heard::Accepted),
            Event::Refused { link, refusal } => (link, Heard::Refused(refusal)),
            Event::Frame { link, frame, held } => (link, Heard::Frame(frame, held)),
            Event::Room { link } => (link, Heard::Room),
            Event::Closed { link, reason } => (link, Heard::Closed(reason)),
        };
        let _hearing = self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        let (listener, is_old) = {
            let mut listening = self.lock();
            // That there is room again says nothing of what was opened.
            let is_answer = !matches!(heard, Heard::Room);
            if is_answer {
                listening.unanswered.remove(&link);
            }
            let is_old = listening.has_left && is_answer && !heard.is_last();
            let listener = match is_old || heard.is_last() {
                true => listening.listeners.remove(&link),
                false => listening.listeners.get(&link).cloned(),
            };
            (listener, is_old)
        };
        match listener {
            Some(listener) if is_old => self.lose(link, &listener),
            Some(listener) => listener.hear(heard),
            None => {}
        }
    }

    /// Opens a link. `listen` is called for who hears what comes on it, unless it cannot be opened. Links that one thread
    /// opens are opened in that order.
    pub(crate) fn open(
        &self,
        opening: Opening,
        listen: impl FnOnce(LinkNumber) -> Arc<dyn Listener>,
    ) -> Result<(), OpenError> {
        // What comes on it waits until its listener is known.
        let mut listening = self.lock();
        if listening.has_left {
            return Err(OpenError::Gone);
        }
        let link = self.links.open(opening)?;
        listening.listeners.insert(link, listen(link));
        listening.unanswered.insert(link);
        Ok(())
    }

    /// What comes on a link that the other pod has opened is heard by the listener from now on.
    pub(crate) fn listen(&self, link: LinkNumber, listener: Arc<dyn Listener>) {
        self.lock().listeners.insert(link, listener);
    }

    /// Takes a link that the other pod has opened.
    pub(crate) fn accept(&self, link: LinkNumber, accepted: Accepted) {
        self.links.accept(link, accepted);
    }

    /// Refuses a link that the other pod has opened, of which no code has run. Nothing more is heard of it.
    pub(crate) fn refuse(&self, link: LinkNumber, refusal: Refusal) {
        let listener = self.forget(link);
        self.links.refuse(link, refusal);
        drop(listener); // not under the lock: what it holds may close other links
    }

    fn forget(&self, link: LinkNumber) -> Option<Arc<dyn Listener>> {
        let mut listening = self.lock();
        listening.unanswered.remove(&link);
        listening.listeners.remove(&link)
    }

    /// Sends a frame. Of room after [`SendError::Full`] the listener hears.
    pub(crate) fn send(&self, link: LinkNumber, frame: Frame) -> Result<(), SendError> {
        self.links.send(link, frame)
    }

    /// Closes a link behind what was sent on it. Nothing more is heard of it.
    pub(crate) fn close(&self, link: LinkNumber, reason: CloseReason) {
        let listener = self.forget(link);
        self.links.close(link, reason);
        drop(listener); // not under the lock: what it holds may close other links
    }
}

/// A place in nobody's credit, with which this guard is dropped.
pub(crate) fn place(guard: impl Send + Sync + 'static) -> credit::Place {
    Arc::<Credit>::default().take(0).with(guard)
}
