//! A gateway: asks the pods what they are, and sends each request to the one that is active. Pods that serve beside each other
//! are not simulated yet.

use std::collections::BTreeMap;

use portside_core::ownership::Mechanisms;
use portside_core::ownership::gateway::{Claim, Gateway as Machine, Incarnation, Step, Wish};

use crate::calls::Who;
use crate::mechanism::Mechanism;
use crate::network::{MS, Network, Node};
use crate::request::{Answer, Request};
use crate::world::Happening;

/// How often each pod is asked.
const ASK_INTERVAL: u64 = 40 * MS;
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
    /// Requests that wait for an active pod.
    held: Vec<Request>,
    /// Where the others are, and for which term.
    sent: BTreeMap<Request, (usize, u64)>,
}

impl Gateway {
    pub fn new(number: usize, start: u64, pods: usize, mechanisms: Mechanisms) -> Self {
        let mut machine = Machine::new(mechanisms);
        machine.set_pods(&(0..pods).collect());
        Self {
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
    pub fn ask_all(&mut self, net: &mut Network, pods: usize) {
        for slot in 0..pods {
            if !self.asked.contains_key(&slot) {
                self.ask(net, slot);
            }
        }
        net.after(ASK_INTERVAL, Happening::AskRound(self.number, self.start));
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
        let Some(&(expected, again)) = self.asked.get(&slot) else {
            return;
        };
        if expected != question {
            return;
        }
        self.asked.remove(&slot);
        self.machine.set_time(net.now / MS);
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
            self.linked = self.linked.filter(|linked| *linked != slot);
            net.trace(|| format!("gateway {number} cuts off pod {slot}"));
            let cut = self.sent.extract_if(.., |_, (to, _)| *to == slot);
            for (request, _) in cut.collect::<Vec<_>>() {
                self.answer(net, request, Answer::Failed);
            }
        }
        for slot in step.ask {
            self.ask(net, slot);
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
            None => self.held.push(request),
        }
        self.forward(net);
    }

    fn send(&mut self, net: &mut Network, request: Request, slot: usize, term: u64) {
        self.sent.insert(request, (slot, term));
        let (from, to) = (Node::Gateway(self.number), Node::Pod(slot));
        net.send(from, to, Happening::Requests(slot, request));
    }

    fn forward(&mut self, net: &mut Network) {
        // With one pod to choose nothing is drawn or weighed.
        let Some((&slot, term)) = self.machine.choose(&Wish::default(), |_| 0, 0) else {
            return;
        };
        for request in std::mem::take(&mut self.held) {
            self.linked.get_or_insert(slot);
            self.send(net, request, slot, term);
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
            self.held.push(request);
        } else {
            self.answer(net, request, answer);
        }
    }

    fn answer(&self, net: &mut Network, request: Request, answer: Answer) {
        let from = Node::Gateway(self.number);
        net.send(from, Node::Clients, Happening::AtClient(request, answer));
    }
}
