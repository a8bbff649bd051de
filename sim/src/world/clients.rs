//! Gateways, and the clients who ask through them.

use super::World;
use super::scaling::UNNOTICED;
use crate::checker::{Kind, SETS_ALARM, Wrong, wrong};
use crate::code::Operation;
use crate::gateway::Gateway;
use crate::network::{MS, Node, Time};
use crate::request::{Answer, Request};
use crate::world::Happening;

/// What is on its way to a process when that ends is lost with the connection, and so are requests that wait for it.
const LAST_WORDS: Time = 50 * MS;

/// How long a client waits for an answer before it asks anew, and one that keeps a connection, while things fail.
const PATIENCE: Time = 1_500 * MS;
const PATIENCE_ON_LINK: Time = 150 * MS;

/// After so many requests in a row without an answer, the client with a connection makes a new one.
const FAILURES_OF_A_LINK: u64 = 10;

impl World {
    pub(super) fn at_gateway(&mut self, happening: Happening) {
        let number = match &happening {
            Happening::AskRound(gateway, _)
            | Happening::HangsUp(gateway, _)
            | Happening::Pods(gateway, ..) => *gateway,
            Happening::Says(_, (gateway, ..), _) => *gateway,
            Happening::AtGateway(request) | Happening::Answers(_, request, _) => request.gateway,
            _ => return,
        };
        let (gateway, net) = (&mut self.gateways[number], &mut self.net);
        match happening {
            Happening::AskRound(_, start) if start == gateway.start => {
                gateway.ask_all(net);
            }
            Happening::Says(slot, (_, start, question), said) if start == gateway.start => {
                gateway.heard(net, slot, question, said);
            }
            Happening::Pods(_, start, pods) if start == gateway.start => {
                gateway.set_pods(net, &pods);
            }
            Happening::HangsUp(_, slot) => gateway.disconnected(net, slot),
            Happening::AtGateway(request) => gateway.request(net, request),
            Happening::Answers(who, request, answer) => {
                gateway.answered(net, who, request, answer);
            }
            _ => {}
        }
    }

    /// A client asks the next thing, or anew what it waits for no longer.
    pub(super) fn thinks(&mut self, client: usize, turn: u64) -> Result<(), Wrong> {
        if self.clients[client].turns != turn {
            return Ok(());
        }
        self.is_not_kept_waiting(client)?;
        self.numbers += 1;
        let random = &mut self.net.random;
        let it = &mut self.clients[client];
        it.failures += u64::from(it.asked.is_some() && it.is_on_link);
        // One client keeps a connection as long as it can, the others ask anew each time.
        let keeps_link = client == 0;
        if keeps_link && it.failures > FAILURES_OF_A_LINK {
            it.failures = 0;
            self.gateways.iter_mut().for_each(Gateway::unlink);
        }
        let sets_alarm = random.chance(100);
        let entry = self.numbers | if sets_alarm { SETS_ALARM } else { 0 };
        let request = Request {
            gateway: random.index(self.gateways.len()),
            number: self.numbers << 8 | client as u64,
            operation: Operation {
                key: random.index(self.keys.len()),
                appends: random
                    .chance(if keeps_link { 300 } else { 600 })
                    .then_some(entry),
                alarm_in: sets_alarm.then(|| random.within(20, 800)),
            },
            on_link: keeps_link && random.chance(800),
        };
        it.is_on_link = request.on_link;
        let operation = request.operation;
        let asked = self.checker.asks(operation.key, operation.appends);
        it.asked = Some((request.number, asked));
        it.asked_at = self.net.now;
        it.turns += 1;
        let patience = Happening::Thinks(client, it.turns);
        let is_hasty = keeps_link && !(self.net.is_shared && self.net.now >= UNNOTICED);
        let delay = if is_hasty { PATIENCE_ON_LINK } else { PATIENCE };
        self.net.after(delay, patience);
        self.net
            .trace(|| format!("client {client} asks {request:?}"));
        let to = Node::Gateway(request.gateway);
        self.net
            .send(Node::Clients, to, Happening::AtGateway(request));
        Ok(())
    }

    /// Whether what was asked at this time must be answered, whatever is wanted of the pods: only a death excuses it.
    fn must_be_answered(&self, asked_at: Time) -> bool {
        self.net.is_shared && asked_at >= UNNOTICED.max(self.death_until)
    }

    /// Who waits for a process that ends is told, or the connection breaks: nobody's patience ends.
    fn is_not_kept_waiting(&self, client: usize) -> Result<(), Wrong> {
        let it = &self.clients[client];
        match it.asked.is_some() && self.must_be_answered(it.asked_at) {
            true => Err(wrong!(
                KeptWaiting,
                "client {client} has waited since {} us in vain although nothing fails",
                it.asked_at
            )),
            false => Ok(()),
        }
    }

    pub(super) fn at_client(&mut self, request: Request, answer: Answer) -> Result<(), Wrong> {
        let client = (request.number & 0xff) as usize;
        let asked_at = self.clients[client].asked_at;
        let was_lost = asked_at < self.last_end + LAST_WORDS;
        let must_be_answered = self.must_be_answered(asked_at) && !was_lost;
        let it = &mut self.clients[client];
        let Some((_, asked)) = it.asked.filter(|(number, _)| *number == request.number) else {
            return Ok(());
        };
        it.asked = None;
        it.turns += 1;
        let pause = self.net.random.within(1, 100) * MS;
        self.net.after(pause, Happening::Thinks(client, it.turns));
        self.net
            .trace(|| format!("client {client} gets {answer:?}"));
        match answer {
            Answer::List(list) => {
                if it.is_on_link {
                    it.failures = 0;
                }
                it.last_answer = self.net.now;
                self.checker.answered(asked, &list)
            }
            _ if must_be_answered => Err(wrong!(
                Dropped,
                "a request of client {client} fails although nothing does"
            )),
            Answer::NotRun | Answer::Failed => {
                it.failures += u64::from(it.is_on_link);
                Ok(())
            }
        }
    }
}
