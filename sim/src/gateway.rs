//! A gateway: asks the pods what they are, and sends each request to the one that is active, or to one of those that serve beside
//! each other.

use std::collections::{BTreeMap, BTreeSet};

use portside_core::ownership::Mechanisms;
use portside_core::ownership::gateway::{Claim, Gateway as Machine, Incarnation, Step, Wish};

use crate::calls::Who;
use crate::mechanism::Mechanism;
use crate::network::{MS, Network, Node};
use crate::request::{Answer, Request};
use crate::world::{Happening, SCALE};

/// How often each pod is asked; and those that share the shards, which say themselves that they drain.
const ASK_INTERVAL: u64 = 40 * MS;
const SHARED_ASK_INTERVAL: u64 = 100 * MS;
/// A pod that says nothing for this long cannot be reached.
const ASK_TIMEOUT: u64 = 250 * MS;

#[derive(Debug)]
pub(crate) struct Gateway {
    pub number: usize,
    /// Tells one start from the next.
    pub start: u64,
    machine: Machine<usize>,
    /// The question that each pod has been asked, and whether to ask once more afterwards.
    asked: BTreeMap<usize, (u64, bool)>,
    questions: u64,
    /// The pod to which connections are open.
    linked: Option<usize>,
    pods: BTreeSet<usize>,
    /// Requests that wait for a pod that can be sent some, and where each has been in vain.
    held: Vec<(Request, Option<usize>)>,
    /// Where the others are, and for which term.
    sent: BTreeMap<Request, (usize, u64)>,
}

impl Gateway {
    pub fn new(number: usize, start: u64, pods: BTreeSet<usize>, mechanisms: Mechanisms) -> Self {
        let mut machine = Machine::new(mechanisms);
        machine.set_pods(&pods);
        Self {
            pods,
            number,
            start,
            machine,
            asked: BTreeMap::new(),
            questions: 0,
            linked: None,
            held: Vec::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Asks every pod that is not being asked, and again after a while.
    pub fn ask_all(&mut self, net: &mut Network) {
        for slot in self.pods.clone() {
            if !self.asked.contains_key(&slot) {
                self.ask(net, slot);
            }
        }
        let interval = match net.is_shared {
            true => SHARED_ASK_INTERVAL,
            false => ASK_INTERVAL,
        };
        net.after(interval, Happening::AskRound(self.number, self.start));
    }

    /// These are the pods from now on.
    pub fn set_pods(&mut self, net: &mut Network, pods: &BTreeSet<usize>) {
        self.asked.retain(|slot, _| pods.contains(slot));
        self.pods.clone_from(pods);
        let step = self.machine.set_pods(pods);
        self.follow(net, step);
        for slot in pods {
            if !self.asked.contains_key(slot) {
                self.ask(net, *slot);
            }
        }
    }

    fn ask(&mut self, net: &mut Network, slot: usize) {
        if let Some((_, again)) = self.asked.get_mut(&slot) {
            *again = true;
            return;
        }
        self.questions += 1;
        let question = (self.number, self.start, self.questions);
        self.asked.insert(slot, (self.questions, false));
        let (from, to) = (Node::Gateway(self.number), Node::Pod(slot));
        net.send(from, to, Happening::Asks(slot, question));
        net.after(ASK_TIMEOUT, Happening::Says(slot, question, None));
    }

    /// A pod answered a question, or did not in time.
    pub fn heard(
        &mut self,
        net: &mut Network,
        slot: usize,
        question: u64,
        said: Option<(Incarnation, Claim)>,
    ) {
        let asked = self.asked.get(&slot).copied();
        // A pod that drains does not wait for the question.
        let is_answer = question == 0 || asked.is_some_and(|(expected, _)| expected == question);
        if !is_answer {
            return;
        }
        let again = asked.is_some_and(|(_, again)| again);
        self.asked.remove(&slot);
        self.machine.set_time(SCALE * net.now / MS);
        let number = self.number;
        let step = match said {
            Some((id, claim)) => {
                net.trace(|| format!("gateway {number} hears of pod {slot} {id:?}: {claim:?}"));
                self.machine.heard(&slot, Some(id), claim)
            }
            None => {
                net.trace(|| format!("gateway {number} cannot reach pod {slot}"));
                self.machine.lost(&slot)
            }
        };
        self.follow(net, step);
        if again {
            self.ask(net, slot);
        }
        self.forward(net);
    }

    fn follow(&mut self, net: &mut Network, step: Step<usize>) {
        // Without the filter, what a pod sends that was overtaken reaches clients.
        let filters = !net.is_without(Mechanism::GatewayFilter);
        for slot in step.cut.into_iter().filter(|_| filters) {
            let number = self.number;
            net.trace(|| format!("gateway {number} cuts off pod {slot}"));
            self.disconnected(net, slot);
        }
        for slot in step.ask {
            self.ask(net, slot);
        }
    }

    /// The connections to a pod are broken.
    pub fn disconnected(&mut self, net: &mut Network, slot: usize) {
        self.linked = self.linked.filter(|linked| *linked != slot);
        let cut = self.sent.extract_if(.., |_, (to, _)| *to == slot);
        for (request, _) in cut.collect::<Vec<_>>() {
            self.answer(net, request, Answer::Failed);
        }
    }

    /// The client with the connection gave it up.
    pub fn unlink(&mut self) {
        self.linked = None;
    }

    /// A client asks for something.
    pub fn request(&mut self, net: &mut Network, request: Request) {
        match self.linked.filter(|_| request.on_link) {
            // Connections have no term: they are cut off or they are not.
            Some(slot) => self.send(net, request, slot, 0),
            None => self.held.push((request, None)),
        }
        self.forward(net);
    }

    fn send(&mut self, net: &mut Network, request: Request, slot: usize, term: u64) {
        self.sent.insert(request, (slot, term));
        let (from, to) = (Node::Gateway(self.number), Node::Pod(slot));
        net.send(from, to, Happening::Requests(slot, request));
    }

    fn forward(&mut self, net: &mut Network) {
        for (request, avoided) in std::mem::take(&mut self.held) {
            let wish = Wish {
                owner: None,
                avoided: avoided.into_iter().collect(),
            };
            let load = |slot: &usize| self.sent.values().filter(|(to, _)| to == slot).count();
            let random = net.choice();
            match self.machine.choose(&wish, load, random) {
                Some((&slot, term)) => {
                    self.linked.get_or_insert(slot);
                    self.send(net, request, slot, term);
                }
                None => self.held.push((request, avoided)),
            }
        }
    }

    /// A pod answered a request.
    pub fn answered(&mut self, net: &mut Network, who: Who, request: Request, answer: Answer) {
        let Some(&(slot, term)) = self.sent.get(&request) else {
            return; // It was cut off.
        };
        if slot != who.slot {
            return;
        }
        self.sent.remove(&request);
        if answer == Answer::NotRun {
            self.linked = self.linked.filter(|linked| *linked != slot);
            self.machine.refuted(&slot, term, Claim::Standby);
            self.ask(net, slot);
            self.held.push((request, Some(slot)));
            self.forward(net);
        } else {
            self.answer(net, request, answer);
        }
    }

    fn answer(&self, net: &mut Network, request: Request, answer: Answer) {
        let from = Node::Gateway(self.number);
        net.send(from, Node::Clients, Happening::AtClient(request, answer));
    }
}
