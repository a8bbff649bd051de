//! Everything that is simulated, and the loop that runs it.

mod faults;
mod store;

use std::collections::BTreeMap;

use portside_core::alarm::Alarm;
use portside_core::ids::{PodId, WorkerKey};
use portside_core::ownership::gateway::{Claim, Incarnation};
use portside_core::ownership::{LEASE_MS, Mechanisms, PATIENCE_MS, Role, Settings, invariants};
use portside_store_model::{Database, Dump, Reply, Statement, StatementId};

use crate::calls::{Purpose, Who};
use crate::checker::{Asked, Checker, Kind, SETS_ALARM, Wrong, wrong};
use crate::code::{self, Operation};
use crate::gateway::Gateway;
use crate::mechanism::Mechanism;
use crate::network::{Clock, Faults, MS, Network, Node, Speed, Time};
use crate::pod::Pod;
use crate::random::Random;
use crate::request::{Answer, Request};

/// Leases are shorter here than in a cluster by this factor.
const SCALE: u64 = 5;
/// How long faults happen.
const FAULTY: Time = 6_000 * MS;
/// How long the run goes on after the last fault.
const RECOVERY: Time = 5_000 * MS;
/// Every client must have had an answer in this last part of the run.
const LAST: Time = 1_500 * MS;

/// After so many requests in a row without an answer, the client with a connection makes a new one.
const FAILURES_OF_A_LINK: u64 = 10;

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A process starts on a pod's machine.
    Boots(usize),
    Wakes(Who, u64),
    /// A statement arrives at the store.
    Arrives(u64, Statement),
    /// A statement gets its locks, or its end.
    Locks(u64, StatementId),
    Ends(u64, StatementId),
    /// An answer of the store arrives, or its caller gives up.
    Replies(u64, Option<Reply>),
    AskRound(usize, u64),
    /// A gateway's question: (gateway, its start, number).
    Asks(usize, (usize, u64, u64)),
    Says(usize, (usize, u64, u64), Option<(Incarnation, Claim)>),
    Requests(usize, Request),
    Answers(Who, Request, Answer),
    AtGateway(Request),
    AtClient(Request, Answer),
    /// A client asks the next thing, unless it has gone on since.
    Thinks(usize, u64),
    Fault,
    StoreIsBack,
}

struct Client {
    /// What it waits for, if for anything.
    asked: Option<(u64, Asked)>,
    turns: u64,
    /// How often in a row its connection brought no answer.
    failures: u64,
    is_on_link: bool,
    last_answer: Time,
}

/// One machine that runs pods, one after another.
struct Machine {
    clock: Clock,
    pod: Option<Pod>,
    starts: u64,
    /// When its registration was sent, while it is under way.
    registering: Option<(Who, PodId, u64)>,
    paused_until: Time,
}

/// A statement that runs.
struct Running {
    call: u64,
    /// Whom it declares dead.
    declares: Option<PodId>,
}

pub(crate) struct World {
    pub net: Network,
    pub checker: Checker,
    database: Database,
    running: BTreeMap<StatementId, Running>,
    store_is_down: bool,
    dump: Option<Dump>,
    may_restore: bool,
    settings: Settings,
    keys: Vec<WorkerKey>,
    machines: Vec<Machine>,
    gateways: Vec<Gateway>,
    clients: Vec<Client>,
    numbers: u64,
}

impl World {
    pub fn new(seed: u64, without: Option<Mechanism>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let has_objects = crate::has_objects(seed);
        let speed = match random.index(10) {
            0..=2 => Speed::Wild,
            3..=6 => Speed::Corrected,
            _ => Speed::Honest,
        };
        let wild_clocks = speed == Speed::Wild;
        let faults = Faults {
            slow: random.within(0, 30),
            lost: random.within(0, 15),
            killed: random.within(0, 30),
            interval_ms: [200, 400, 800][random.index(3)],
            wild_clocks,
            until: FAULTY,
        };
        let mut mechanisms = Mechanisms::default();
        match without {
            Some(Mechanism::SettleBeforeLoad) => mechanisms = mechanisms.without_settling(),
            Some(Mechanism::Lease) => mechanisms = mechanisms.without_lease(),
            Some(Mechanism::GatewayFilter) => mechanisms = mechanisms.without_gateway_filter(),
            _ => {}
        }
        let lease_ms = LEASE_MS / SCALE;
        let settings = Settings {
            shards: [1, 2, 4][random.index(3)],
            renewal_interval_ms: 100,
            lease_ms,
            patience_ms: match without {
                Some(Mechanism::Patience) => lease_ms,
                _ => PATIENCE_MS / SCALE,
            },
            observation_interval_ms: 50,
            claim_interval_ms: 400,
            retry_interval_ms: 100,
            mechanisms,
            ..Settings::default()
        };
        let machines = (0..random.within(2, 3)).map(|_| Machine {
            clock: Clock::new(&mut random, speed),
            pod: None,
            starts: 0,
            registering: None,
            paused_until: 0,
        });
        let machines: Vec<Machine> = machines.collect();
        // Where clocks may be anything, only the filter of a gateway that sees all answers keeps stale ones back.
        let gateways = if wild_clocks { 1 } else { random.within(1, 2) };
        let gateways = (0..gateways as usize)
            .map(|number| Gateway::new(number, 0, machines.len(), mechanisms));
        let gateways = gateways.collect();
        let keys: Vec<WorkerKey> = (0..random.within(1, 3))
            .filter_map(|key| code::address(key as usize, has_objects))
            .collect();
        let clients = (0..random.within(2, 4)).map(|_| Client {
            asked: None,
            turns: 0,
            failures: 0,
            is_on_link: false,
            last_answer: 0,
        });
        Self {
            checker: Checker::new(keys.len()),
            database: Database::new(settings.shards),
            running: BTreeMap::new(),
            store_is_down: false,
            dump: None,
            may_restore: random.chance(100),
            settings,
            keys,
            machines,
            gateways,
            clients: clients.collect(),
            numbers: 0,
            net: Network::new(random, faults, has_objects, without, traced),
        }
    }

    /// Runs to the end. An error says which invariant was violated.
    pub fn run(&mut self) -> Result<(), Wrong> {
        for slot in 0..self.machines.len() {
            let delay = self.net.random.within(0, 50) * MS;
            self.net.after(delay, Happening::Boots(slot));
        }
        for gateway in 0..self.gateways.len() {
            self.net.after(0, Happening::AskRound(gateway, 0));
        }
        for client in 0..self.clients.len() {
            self.net.after(100 * MS, Happening::Thinks(client, 0));
        }
        self.net.after(200 * MS, Happening::Fault);
        while let Some(happening) = self.net.next() {
            if self.net.now > FAULTY + RECOVERY {
                break;
            }
            self.happens(happening)?;
        }
        self.at_the_end()
    }

    fn happens(&mut self, happening: Happening) -> Result<(), Wrong> {
        if let Some(until) = self.is_paused(&happening) {
            self.net.at(until, happening);
            return Ok(());
        }
        match happening {
            Happening::Boots(slot) => self.boot(slot),
            Happening::Arrives(call, statement) => self.arrives(call, statement),
            Happening::Locks(call, statement) => self.locks(call, statement),
            Happening::Ends(call, statement) => return self.ends(call, statement),
            Happening::StoreIsBack => self.store_is_down = false,
            Happening::AskRound(..)
            | Happening::Says(..)
            | Happening::AtGateway(..)
            | Happening::Answers(..) => self.at_gateway(happening),
            Happening::Thinks(client, turn) => self.thinks(client, turn),
            Happening::AtClient(request, answer) => return self.at_client(request, answer),
            Happening::Fault => self.fault(),
            Happening::Wakes(..)
            | Happening::Replies(..)
            | Happening::Asks(..)
            | Happening::Requests(..) => return self.at_pod(happening),
        }
        Ok(())
    }

    /// Until when the process that this concerns does nothing.
    fn is_paused(&self, happening: &Happening) -> Option<Time> {
        let slot = match happening {
            Happening::Wakes(who, _) => who.slot,
            Happening::Replies(call, _) => self.net.caller(*call)?.slot,
            Happening::Asks(slot, _) | Happening::Requests(slot, _) => *slot,
            _ => return None,
        };
        let until = self.machines[slot].paused_until;
        (until > self.net.now).then_some(until)
    }

    fn stored(&mut self, key: usize) -> Result<Vec<u64>, Wrong> {
        let worker = self.keys[key].id();
        let list = Statement::List {
            shard: worker.shard(self.settings.shards),
            worker,
            range: portside_core::keys::KeyRange::default(),
        };
        match self.database.run(list) {
            Some(Reply::Entries(entries)) => {
                let entries = entries.into_iter().collect();
                code::stored_list(&entries, self.net.has_objects)
            }
            other => Err(wrong!(Broken, "the store answered {other:?}")),
        }
    }

    fn alarm(&mut self, key: usize) -> Option<Alarm> {
        let worker = &self.keys[key];
        let alarms = Statement::Alarms {
            shards: vec![worker.id().shard(self.settings.shards)],
            after: None,
            until: i64::MAX,
            limit: usize::MAX,
        };
        let Some(Reply::Alarms(alarms)) = self.database.run(alarms) else {
            return None;
        };
        let mut alarms = alarms.into_iter();
        alarms.find_map(|(it, alarm)| (it == *worker).then_some(alarm))
    }

    // Pods.

    fn boot(&mut self, slot: usize) {
        self.numbers += 1;
        let machine = &mut self.machines[slot];
        machine.starts += 1;
        let who = Who {
            slot,
            start: machine.starts,
        };
        // Names have no order in time.
        let pod = PodId(u128::from(self.net.random.next()) << 32 | u128::from(self.numbers));
        let sent = machine.clock.ms(self.net.now);
        machine.registering = Some((who, pod, sent));
        self.net.trace(|| format!("pod {slot} starts as {pod:?}"));
        self.net
            .call(who, Statement::Register { pod }, Purpose::Register);
    }

    fn registered(&mut self, who: Who, reply: Option<Reply>) {
        let machine = &mut self.machines[who.slot];
        let Some((_, id, sent)) = machine.registering.filter(|(it, ..)| *it == who) else {
            return;
        };
        if reply.is_none() {
            // It exits, and is started again.
            machine.registering = None;
            return self.net.after(50 * MS, Happening::Boots(who.slot));
        }
        machine.registering = None;
        let clock = machine.clock.clone();
        let keys = self.keys.clone();
        let mut pod = Pod::new(who, id, clock, sent, self.settings, keys, &mut self.net);
        pod.start(&mut self.net);
        machine.pod = Some(pod);
    }

    fn at_pod(&mut self, happening: Happening) -> Result<(), Wrong> {
        let (slot, start) = match &happening {
            Happening::Wakes(who, _) => (who.slot, Some(who.start)),
            Happening::Asks(slot, _) | Happening::Requests(slot, _) => (*slot, None),
            Happening::Replies(call, _) => match self.net.caller(*call) {
                Some(who) => (who.slot, Some(who.start)),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if let Happening::Replies(call, reply) = happening {
            if let Some((who, purpose)) = self.net.answered(call) {
                if purpose == Purpose::Register {
                    self.registered(who, reply);
                } else if let Some(pod) = self.pod(slot, start) {
                    let (pod, net) = pod;
                    pod.replied(net, purpose, reply);
                }
            }
        } else if let Some((pod, net)) = self.pod(slot, start) {
            match happening {
                Happening::Wakes(_, waking) => pod.woken(net, waking),
                Happening::Requests(_, request) => pod.request(net, request),
                Happening::Asks(_, question) => {
                    let claim = pod.claim(net);
                    let incarnation = Incarnation {
                        id: pod.state.pod(),
                        renewals: Some(pod.state.renewals()),
                    };
                    let said = (claim != Claim::Unknown).then_some((incarnation, claim));
                    if said.is_some() {
                        let (from, to) = (Node::Pod(slot), Node::Gateway(question.0));
                        net.send(from, to, Happening::Says(slot, question, said));
                    }
                }
                _ => {}
            }
        }
        self.check(slot)
    }

    fn pod(&mut self, slot: usize, start: Option<u64>) -> Option<(&mut Pod, &mut Network)> {
        let pod = self.machines[slot].pod.as_mut()?;
        let is_it = start.is_none_or(|start| start == pod.who.start);
        is_it.then_some((pod, &mut self.net))
    }

    /// What must hold after each step of a pod; and whether it has ended.
    fn check(&mut self, slot: usize) -> Result<(), Wrong> {
        let pods = self.machines.iter().filter_map(|it| it.pod.as_ref());
        invariants::one_owner_per_epoch(pods.map(|pod| &pod.state))
            .map_err(|violation| Wrong::new(Kind::TwoOwners, violation))?;
        let Some(pod) = &self.machines[slot].pod else {
            return Ok(());
        };
        if let Some(wrong) = &pod.wrong {
            return Err(wrong.clone());
        }
        let is_over = pod.state.role() == Role::Over;
        let is_releasing = pod.state.ended() == Some(portside_core::ownership::Ended::Released)
            && pod.state.released().is_none();
        if is_over && !is_releasing {
            self.crash(slot, 100);
        }
        Ok(())
    }

    /// A process ends, and another is started on its machine.
    fn crash(&mut self, slot: usize, within_ms: u64) {
        let machine = &mut self.machines[slot];
        if machine.pod.take().is_some() || machine.registering.take().is_some() {
            self.net.trace(|| format!("pod {slot} ends"));
            let delay = self.net.random.within(1, within_ms) * MS;
            self.net.after(delay, Happening::Boots(slot));
        }
    }

    // Gateways and clients.

    fn at_gateway(&mut self, happening: Happening) {
        let number = match &happening {
            Happening::AskRound(gateway, _) => *gateway,
            Happening::Says(_, (gateway, ..), _) => *gateway,
            Happening::AtGateway(request) | Happening::Answers(_, request, _) => request.gateway,
            _ => return,
        };
        let (gateway, net) = (&mut self.gateways[number], &mut self.net);
        match happening {
            Happening::AskRound(_, start) if start == gateway.start => {
                gateway.ask_all(net, self.machines.len());
            }
            Happening::Says(slot, (_, start, question), said) if start == gateway.start => {
                gateway.heard(net, slot, question, said);
            }
            Happening::AtGateway(request) => gateway.request(net, request),
            Happening::Answers(who, request, answer) => {
                gateway.answered(net, who, request, answer);
            }
            _ => {}
        }
    }

    fn thinks(&mut self, client: usize, turn: u64) {
        if self.clients[client].turns != turn {
            return;
        }
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
        it.turns += 1;
        let patience = Happening::Thinks(client, it.turns);
        let patience_ms = if keeps_link { 150 } else { 1_500 };
        self.net.after(patience_ms * MS, patience);
        self.net
            .trace(|| format!("client {client} asks {request:?}"));
        let to = Node::Gateway(request.gateway);
        self.net
            .send(Node::Clients, to, Happening::AtGateway(request));
    }

    fn at_client(&mut self, request: Request, answer: Answer) -> Result<(), Wrong> {
        let client = (request.number & 0xff) as usize;
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
            Answer::NotRun | Answer::Failed => {
                it.failures += u64::from(it.is_on_link);
                Ok(())
            }
        }
    }

    fn at_the_end(&mut self) -> Result<(), Wrong> {
        for key in 0..self.keys.len() {
            let list = self.stored(key)?;
            self.checker.stored(key, &list)?;
            let alarm = self.alarm(key);
            Checker::alarms(key, &list, alarm.is_some())?;
            let late = ((FAULTY + RECOVERY - LAST) / MS) as i64;
            if let Some(alarm) = alarm.filter(|alarm| alarm.due < late) {
                return Err(wrong!(
                    NoAlarm,
                    "worker {key} did not get its alarm: {alarm:?}"
                ));
            }
        }
        let late = FAULTY + RECOVERY - LAST;
        let pods = self.machines.iter().filter_map(|it| it.pod.as_ref());
        // What has reached another pod on an old connection waits for that one to become active.
        let active = pods.filter(|pod| matches!(pod.state.role(), Role::Active { .. }));
        let waits_since = active.filter_map(Pod::waits_since).min();
        if let Some(since) = waits_since.filter(|since| *since < late) {
            return Err(wrong!(
                Unanswered,
                "a request has been waiting since {since} us although nothing fails any more"
            ));
        }
        match self.clients.iter().position(|it| it.last_answer < late) {
            Some(client) => Err(wrong!(
                Unanswered,
                "client {client} is not answered although nothing fails any more"
            )),
            None => Ok(()),
        }
    }
}
