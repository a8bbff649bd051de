//! How what is opened to workers reaches them, in this process or in another pod.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use portside_core::ids::{Epoch, PodId, ShardId};
use portside_core::ownership::{Event, Role};
use portside_worker::event::Incoming;
use portside_worker::inbox::Inbox;
use portside_worker::later::Waiting;
use portside_worker::link::{CloseReason, Failure, Frame, Kind, LinkEnd, LinkId, Opening, Receive};

use crate::calls::Who;
use crate::links::{Asked, Asker, FarPort, Links, Question, Said};
use crate::links::{closed, message, place};
use crate::map::At;
use crate::mechanism::Mechanism;
use crate::network::{MS, Network, Node, Time};
use crate::pod::Pod;
use crate::world::Happening;

/// How long a link waits for a place that can be reached.
const PATIENCE: Time = 1_200 * MS;

/// A question on its way to the pod that is believed to have the worker.
#[derive(Debug)]
pub(crate) struct Passed {
    pub question: Question,
    /// The machine, and the pod that is expected there.
    pub slot: usize,
    pub pod: PodId,
    /// In which it is believed to have the shard.
    pub epoch: Epoch,
    pub key: usize,
    pub asked: Asked,
}

/// Its links with other pods, and their questions.
#[derive(Default)]
pub(crate) struct Passing {
    pub links: Arc<Links>,
    /// Until when each waits.
    waiting: VecDeque<(Waiting, Time)>,
    /// What this pod has asked others.
    pub exchanges: BTreeMap<u64, Exchange>,
    questions: u64,
    /// What others have asked, and this pod does not know yet whether the worker is here.
    offers: VecDeque<(Passed, Time)>,
    /// Ports that others have to workers here.
    ports: BTreeMap<Question, (LinkId, Arc<Inbox>)>,
}

/// Something that another pod was asked, and how whoever asks is told.
pub(crate) struct Exchange {
    pub at: At,
    shard: ShardId,
    kind: Exchanged,
}

enum Exchanged {
    Message(Arc<FarPort>, Incoming),
    Call(Waiting),
}

/// Where a shard is.
enum Place {
    Here,
    At(At),
    Unknown,
}

impl Passing {
    /// Whether nobody waits, here or elsewhere, for a word of this pod.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.offers.is_empty() && self.exchanges.is_empty()
    }

    /// When the first has waited for too long.
    pub fn next(&self) -> Option<Time> {
        let waiting = self.waiting.iter().map(|(_, until)| *until);
        waiting.chain(self.offers.iter().map(|it| it.1)).min()
    }
}

impl Pod {
    fn place(&mut self, net: &Network, shard: ShardId) -> Place {
        let Some(sharing) = &mut self.sharing else {
            return Place::Here;
        };
        if sharing.is_leaving(shard) {
            Place::Unknown
        } else if self.state.epoch(shard).is_some() {
            Place::Here
        } else {
            let at = sharing.map.place(shard, net.now);
            at.map_or(Place::Unknown, Place::At)
        }
    }

    /// Opens what was opened where that is now, and sends what is to be sent; whether there was anything.
    pub(crate) fn pass(&mut self, net: &mut Network) -> bool {
        let Some(sharing) = &mut self.sharing else {
            return false;
        };
        let passing = &mut sharing.passing;
        let links = passing.links.clone();
        let mut goes_on = false;
        while let Some(opened) = links.next_opened() {
            passing.waiting.push_back((opened, net.now + PATIENCE));
            goes_on = true;
        }
        let waiting = std::mem::take(&mut passing.waiting);
        let offers = std::mem::take(&mut passing.offers);
        for (waiting, until) in waiting {
            goes_on |= self.try_to_open(net, waiting, until);
        }
        for (offer, until) in offers {
            goes_on |= self.answer_offer(net, offer, until);
        }
        while let Some((port, incoming)) = links.next_passed() {
            self.pass_message(net, port, incoming);
            goes_on = true;
        }
        while let Some((question, said)) = links.next_said() {
            self.say(net, question, said);
            goes_on = true;
        }
        goes_on
    }

    /// Opens a link, or has it wait; whether it is open, or over.
    fn try_to_open(&mut self, net: &mut Network, waiting: Waiting, until: Time) -> bool {
        let Some(key) = self.keys.iter().position(|key| *key == waiting.to) else {
            return true;
        };
        let shard = self.shard(key);
        let at = match self.place(net, shard) {
            Place::Here => {
                let is_port = waiting.is_port();
                let Waiting { opening, later, .. } = waiting;
                let inbox = self.open_here(key, opening);
                later.reached_by(is_port, inbox.map(|inbox| inbox as _));
                return true;
            }
            Place::At(at) => at,
            Place::Unknown if net.now < until => {
                if let Some(sharing) = &mut self.sharing {
                    sharing.passing.waiting.push_back((waiting, until));
                }
                return false;
            }
            Place::Unknown => {
                waiting.later.reached(None);
                let failure = "the worker cannot be reached: no pod has it now";
                waiting.opening.end.refuse(Failure::unavailable(failure));
                return true;
            }
        };
        match &waiting.opening.kind {
            Kind::Rpc(_) => self.ask(net, at, key, Exchanged::Call(waiting)),
            _ => {
                let Waiting { to, opening, later } = waiting;
                let links = self.sharing.as_ref().map(|it| it.passing.links.clone());
                let port = links.map(|links| FarPort::new(&links, to, opening.end, at));
                later.reached(port.map(|port| port as Arc<dyn Receive>));
            }
        }
        true
    }

    fn open_here(&self, key: usize, opening: Opening) -> Option<Arc<Inbox>> {
        match self.host.deliver(key, Incoming::Opened(opening)) {
            Ok(inbox) => Some(inbox),
            Err(Incoming::Opened(opening)) => {
                opening.end.refuse(Failure::overloaded("too many wait"));
                None
            }
            Err(_) => None,
        }
    }

    fn pass_message(&mut self, net: &mut Network, port: Arc<FarPort>, incoming: Incoming) {
        if let Some(key) = self.keys.iter().position(|key| *key == port.to) {
            let at = port.at;
            self.ask(net, at, key, Exchanged::Message(port, incoming));
        }
    }

    /// Asks another pod.
    fn ask(&mut self, net: &mut Network, at: At, key: usize, kind: Exchanged) {
        let (who, shard) = (self.who, self.shard(key));
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        let passing = &mut sharing.passing;
        passing.questions += 1;
        let number = passing.questions;
        let asked = match &kind {
            Exchanged::Call(waiting) => match &waiting.opening.kind {
                Kind::Rpc(push) => Asked::Push((**push).clone()),
                _ => return,
            },
            Exchanged::Message(_, Incoming::Frame { frame, .. }) => match frame {
                Frame::Message { data, .. } => Asked::Message(data.clone()),
                _ => return,
            },
            Exchanged::Message(..) => return,
        };
        let exchange = Exchange { at, shard, kind };
        passing.exchanges.insert(number, exchange);
        net.passed += 1;
        let passed = Box::new(Passed {
            question: (who, number),
            slot: at.slot,
            pod: at.pod,
            epoch: at.epoch,
            key,
            asked,
        });
        match net.hop(Node::Pod(who.slot), Node::Pod(at.slot)) {
            Some(delay) => net.after(delay, Happening::Passes(passed)),
            None => {
                connection_breaks(net, (who, number));
                // What was sent may have arrived all the same.
                if net.random.chance(300) {
                    let delay = net.random.within(1, 50) * MS;
                    net.after(delay, Happening::Passes(passed));
                }
            }
        }
    }

    /// Another pod asks something, which it believes here.
    pub fn asked(&mut self, net: &mut Network, passed: Passed) {
        if passed.pod != self.state.pod() {
            self.say(net, passed.question, Said::Unreachable);
        } else if let Some(sharing) = &mut self.sharing {
            let until = net.now + PATIENCE;
            sharing.passing.offers.push_back((passed, until));
        }
        self.react(net);
    }

    /// Takes or refuses what another pod asks, or has it wait; whether it does not wait.
    fn answer_offer(&mut self, net: &mut Network, offer: Passed, until: Time) -> bool {
        let shard = self.shard(offer.key);
        match self.owned(net, shard, offer.epoch) {
            Owned::Here => self.take(offer),
            Owned::OnItsWay if net.now < until => {
                if let Some(sharing) = &mut self.sharing {
                    sharing.passing.offers.push_back((offer, until));
                }
                return false;
            }
            Owned::OnItsWay => {
                let failure = Failure::unavailable("it does not come to rest, or is not known");
                self.say(net, offer.question, Said::Failed(failure));
            }
            Owned::Elsewhere(epoch) => self.say(net, offer.question, Said::NotOwner(epoch)),
        }
        true
    }

    /// Whether this pod has a shard, and lets others reach it, that another believes here in this epoch.
    fn owned(&mut self, net: &mut Network, shard: ShardId, asked: Epoch) -> Owned {
        let Some(sharing) = &mut self.sharing else {
            return Owned::Here;
        };
        if sharing.is_leaving(shard) {
            return Owned::OnItsWay;
        }
        // Also while that is in doubt: whoever loads the worker waits until it is not.
        if self.state.epoch(shard).is_some() {
            return Owned::Here;
        }
        let elsewhere = sharing.map.elsewhere(shard);
        if let Some((_, epoch)) = elsewhere.filter(|(_, epoch)| *epoch >= asked) {
            return Owned::Elsewhere(epoch);
        }
        if self.state.role() == Role::Over {
            return Owned::Elsewhere(Epoch(0));
        }
        // Perhaps it was given to this pod, which has not heard of that.
        if sharing.map.is_asked(shard, asked) {
            self.step(net, Event::Given);
        }
        Owned::OnItsWay
    }

    /// Gives a worker here what another pod asks of it.
    fn take(&mut self, offer: Passed) {
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        let link = LinkId::of_new_link().other();
        let asker = Asker::new(offer.question, &sharing.passing.links);
        let end = LinkEnd::new(link, asker);
        match offer.asked {
            Asked::Push(push) => {
                self.open_here(offer.key, Opening::new(Kind::Rpc(Box::new(push)), end));
            }
            Asked::Message(data) => {
                let inbox = self.open_here(offer.key, Opening::new(Kind::Port, end));
                let Some(inbox) = inbox else { return };
                // One that leaves says so itself, and does so later.
                let _ = inbox.receive(message(link, data));
                if let Some(sharing) = &mut self.sharing {
                    let port = (link, inbox);
                    sharing.passing.ports.insert(offer.question, port);
                }
            }
        }
    }

    /// Answers another pod's question.
    fn say(&mut self, net: &mut Network, question: Question, said: Said) {
        let sharing = self.sharing.as_mut();
        let port = sharing.and_then(|it| it.passing.ports.remove(&question));
        if let Some((link, inbox)) = port {
            // Who has left needs no telling.
            let _ = inbox.receive(closed(link));
        }
        let (slot, to) = (self.who.slot, question.0.slot);
        net.trace(|| format!("pod {slot} says to {question:?}: {said:?}"));
        match net.hop(Node::Pod(slot), Node::Pod(to)) {
            Some(delay) => net.after(delay, Happening::Replied(question, said)),
            None => connection_breaks(net, question),
        }
    }

    /// Another pod has answered, or is lost.
    pub fn told(&mut self, net: &mut Network, number: u64, said: Said) {
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        let Some(exchange) = sharing.passing.exchanges.remove(&number) else {
            return;
        };
        let Exchange { at, shard, kind } = exchange;
        let is_again = match &said {
            Said::NotOwner(epoch) => {
                sharing.map.misdirected(shard, at.epoch.max(*epoch));
                true
            }
            Said::Unreachable => {
                sharing.map.unreachable(at.pod, net.now);
                true
            }
            Said::Moved => true,
            Said::Answer(_) | Said::Failed(_) | Said::Lost => false,
        };
        if is_again && net.is_without(Mechanism::AskAgain) {
            return;
        }
        match kind {
            Exchanged::Call(waiting) if is_again => {
                let again = (waiting, net.now + PATIENCE);
                sharing.passing.waiting.push_back(again);
            }
            Exchanged::Call(waiting) => tell(&waiting.opening.end, said, Frame::Resolve),
            Exchanged::Message(port, incoming) if is_again => {
                port.end.moved(false, [incoming].into());
            }
            Exchanged::Message(port, _) => tell(&port.end, said, |data| Frame::Message {
                place: place(&data),
                data,
                request: None,
            }),
        }
        self.react(net);
    }

    /// The connection to a pod is lost, and with it what is on its way.
    pub fn disconnected(&mut self, net: &mut Network, pod: PodId) {
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        sharing.map.unreachable(pod, net.now);
        if net.is_without(Mechanism::HearLosses) {
            return;
        }
        let exchanges = sharing.passing.exchanges.iter();
        let lost = exchanges.filter(|(_, it)| it.at.pod == pod);
        let lost: Vec<u64> = lost.map(|(number, _)| *number).collect();
        for number in lost {
            self.told(net, number, Said::Lost);
        }
    }

    /// The pods that have been asked something and are not known to be alive.
    pub(crate) fn lose_strangers(&self, net: &mut Network) {
        let Some(sharing) = &self.sharing else { return };
        if net.is_without(Mechanism::HearLosses) {
            return;
        }
        let asked = sharing.passing.exchanges.iter();
        for (number, _) in asked.filter(|(_, it)| !sharing.map.knows(it.at.pod)) {
            net.after(0, Happening::Replied((self.who, *number), Said::Lost));
        }
    }
}

enum Owned {
    Here,
    OnItsWay,
    Elsewhere(Epoch),
}

/// Tells the opener of a link what came of it.
fn tell(end: &LinkEnd, said: Said, answer: impl FnOnce(Vec<u8>) -> Frame) {
    match said {
        Said::Answer(data) => drop(end.send(answer(data))),
        Said::Failed(failure) => end.refuse(failure),
        _ => end.close(CloseReason::Lost),
    }
}

/// What was sent, or the answer to it, is lost.
fn connection_breaks(net: &mut Network, question: (Who, u64)) {
    let delay = net.random.within(1, 50) * MS;
    net.after(delay, Happening::Replied(question, Said::Lost));
}
