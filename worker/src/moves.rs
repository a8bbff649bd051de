//! Workers that leave for another place in order, and the ports that are open to them, which survive that.
//!
//! Whoever moves a worker has its inbox [leave](Inbox::leave), asks its instance to end, and then [takes](take_along) from the
//! inbox what nobody has heard. The opener's end of each port that was open to it is told what was not heard on it, and opens
//! the port again, where the worker is then.

use std::collections::{BTreeMap, VecDeque};

use crate::event::Incoming;
use crate::inbox::Inbox;
use crate::instance::Instance;
use crate::link::{Kind, LinkId, Opening};

/// What waits in an inbox, by the link that it came on; and the rest, in order.
fn sort_out(
    waiting: VecDeque<Incoming>,
    is_of_port: impl Fn(LinkId) -> bool,
) -> (BTreeMap<LinkId, VecDeque<Incoming>>, VecDeque<Incoming>) {
    let mut unheard = BTreeMap::<LinkId, VecDeque<Incoming>>::new();
    let mut rest = VecDeque::new();
    for incoming in waiting {
        match &incoming {
            Incoming::Frame { link, .. } | Incoming::Closed { link, .. } if is_of_port(*link) => {
                unheard.entry(*link).or_default().push_back(incoming);
            }
            _ => rest.push_back(incoming),
        }
    }
    (unheard, rest)
}

impl Instance {
    /// The instance has ended, for the worker leaves. The ports that it has opened itself end with it.
    pub(crate) fn leave_ports(&mut self) {
        let is_open = |link: LinkId| self.ports.contains_key(&link) && !link.is_openers();
        // What its code was about to hear goes first.
        let replay = std::mem::take(&mut self.replay);
        let (mut unheard, _) = sort_out(replay, is_open);
        let (waiting, rest) = sort_out(self.inbox.left(), is_open);
        self.inbox.keep(rest);
        for (link, waiting) in waiting {
            unheard.entry(link).or_default().extend(waiting);
        }
        let ports = std::mem::take(&mut self.ports);
        for (link, port) in ports {
            if link.is_openers() {
                self.ports.insert(link, port);
            } else {
                port.leave(unheard.remove(&link).unwrap_or_default());
            }
        }
    }
}

/// A link that waited to be heard of, and what waited on it.
pub struct Unheard {
    /// The link.
    pub opening: Opening,
    /// What its opener has sent besides, in order.
    pub after: VecDeque<Incoming>,
}

/// Closes the inbox of a worker that leaves and has no instance any more, and gives the links that nobody has heard of, to be
/// opened where the worker is then; but for ports, whose openers are told, and do that themselves.
#[must_use]
pub fn take_along(inbox: &Inbox) -> Vec<Unheard> {
    let (mut unheard, rest) = sort_out(inbox.left(), |_| true);
    let mut requests = vec![];
    for incoming in rest {
        match incoming {
            Incoming::Opened(opening) => {
                let after = unheard.remove(&opening.end.id).unwrap_or_default();
                if matches!(opening.kind, Kind::Port) {
                    opening.end.moved(false, after);
                } else {
                    requests.push(Unheard { opening, after });
                }
            }
            Incoming::Hibernatable(event) => event.leave(),
            // Alarms are stored: whoever owns the worker then delivers them. All else is of links that are gone.
            Incoming::Alarm(_) | Incoming::Frame { .. } | Incoming::Closed { .. } => {}
        }
    }
    requests
}
