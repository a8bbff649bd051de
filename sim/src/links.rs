//! Links of a process whose targets may be in another pod: where they wait, and what is said on them.
//!
//! On a link between pods one thing is asked and one is answered: that is all that the server does with one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portside_core::ids::{Epoch, WorkerKey};
use portside_exchange::credit::{Credit, Place};
use portside_worker::event::Incoming;
use portside_worker::host::Fabric;
use portside_worker::later::{Later, Waiting};
use portside_worker::link::{
    CloseReason, Failure, Frame, LinkEnd, LinkId, Moved, Opening, Push, Receive, Rejected,
};

use crate::calls::Who;

/// What one pod asks another; by whom, and which of its questions it is.
pub(crate) type Question = (Who, u64);

/// What is asked on a link to a worker in another pod.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// A message on a port.
    Message(Vec<u8>),
    /// A call.
    Push(Push),
}

/// What the other pod says to it.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Answer(Vec<u8>),
    Failed(Failure),
    /// The worker is not there, and nothing of it was run, as far as this epoch of its shard is known.
    NotOwner(Epoch),
    /// The worker has left, and had not heard it.
    Moved,
    /// The pod is not there. It has not got it.
    Unreachable,
    /// The connection is lost: nobody knows whether it was run.
    Lost,
}

/// What the links of a process have for the network.
#[derive(Default)]
pub(crate) struct Links(Mutex<Queues>);

#[derive(Default)]
struct Queues {
    opened: VecDeque<Waiting>,
    passed: VecDeque<(Arc<FarPort>, Incoming)>,
    said: VecDeque<(Question, Said)>,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn next_opened(&self) -> Option<Waiting> {
        self.lock().opened.pop_front()
    }

    /// A message for another pod.
    pub fn next_passed(&self) -> Option<(Arc<FarPort>, Incoming)> {
        self.lock().passed.pop_front()
    }

    /// What is said to another pod.
    pub fn next_said(&self) -> Option<(Question, Said)> {
        self.lock().said.pop_front()
    }

    /// The process is over: what waits in it waits for nothing.
    pub fn forget(&self) {
        let queues = std::mem::take(&mut *self.lock());
        drop(queues);
    }
}

impl Fabric for Links {
    fn open(&self, to: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let later = Arc::<Later>::default();
        let waiting = Waiting::new(to, opening, later.clone());
        self.lock().opened.push_back(waiting);
        Some(later)
    }

    fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
        Err(Failure::unavailable("links only are opened elsewhere"))
    }
}

/// A port to a worker of another pod, in the pod of its opener.
pub(crate) struct FarPort {
    links: Arc<Links>,
    itself: std::sync::Weak<Self>,
    pub to: WorkerKey,
    /// The target's end, as the opener gave it: how the opener is reached.
    pub end: LinkEnd,
    pub at: crate::map::At,
}

impl FarPort {
    pub fn new(links: &Arc<Links>, to: WorkerKey, end: LinkEnd, at: crate::map::At) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            links: links.clone(),
            itself: itself.clone(),
            to,
            end,
            at,
        })
    }
}

impl Receive for FarPort {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let is_message = matches!(
            incoming,
            Incoming::Frame {
                frame: Frame::Message { .. },
                ..
            }
        );
        // Whoever closes it has its answer, or wants none.
        if is_message && let Some(itself) = self.itself.upgrade() {
            self.links.lock().passed.push_back((itself, incoming));
        }
        Ok(())
    }
}

/// The opener of a link that is in another pod, in the pod of the worker: what it hears is said to that.
pub(crate) struct Asker {
    question: Question,
    links: Arc<Links>,
    has_heard: AtomicBool,
}

impl Asker {
    pub fn new(question: Question, links: &Arc<Links>) -> Arc<Self> {
        Arc::new(Self {
            question,
            links: links.clone(),
            has_heard: AtomicBool::new(false),
        })
    }

    fn hears(&self, said: Said) {
        if !self.has_heard.swap(true, Ordering::Relaxed) {
            self.links.lock().said.push_back((self.question, said));
        }
    }
}

impl Receive for Asker {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match incoming {
            Incoming::Frame { frame, .. } => match frame {
                Frame::Message { data, .. } | Frame::Resolve(data) => {
                    self.hears(Said::Answer(data));
                }
                Frame::Failed(failure) => self.hears(Said::Failed(failure)),
                _ => {}
            },
            Incoming::Closed { .. } => self.hears(Said::Lost),
            _ => {}
        }
        Ok(())
    }

    fn moved(&self, moved: Moved) {
        self.hears(match moved.unheard.is_empty() {
            true => Said::Lost,
            false => Said::Moved,
        });
    }
}

/// A message on a link.
pub(crate) fn message(link: LinkId, data: Vec<u8>) -> Incoming {
    let frame = Frame::Message {
        place: place(&data),
        data,
        request: None,
    };
    Incoming::Frame { link, frame }
}

/// It counts nowhere else.
pub(crate) fn place(data: &[u8]) -> Place {
    Arc::<Credit>::default().take(data.len())
}

/// That nothing follows on a link.
pub(crate) fn closed(link: LinkId) -> Incoming {
    let reason = CloseReason::Closed;
    Incoming::Closed { link, reason }
}
