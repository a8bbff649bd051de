//! Everything that is simulated, and the loop that runs it.

mod clients;
mod faults;
mod placement;
mod pods;
mod scaling;
mod settings;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use portside_core::alarm::Alarm;
use portside_core::ids::{PodId, WorkerKey};
use portside_core::ownership::gateway::{Claim, Incarnation};
use portside_core::ownership::{Role, Settings};
use portside_store_model::{Database, Dump, Reply, Statement, StatementId};

use crate::calls::Who;
use crate::checker::{Asked, Checker, Kind, Wrong, wrong};
use crate::code;
use crate::gateway::Gateway;
use crate::links::{Question, Said};
use crate::mechanism::Mechanism;
use crate::moves::Moves;
use crate::network::{Clock, MS, Network, Speed, Time};
use crate::passing::Passed;
use crate::pod::Pod;
use crate::random::Random;
use crate::request::{Answer, Request};
use placement::{Noted, Seen};
pub(crate) use scaling::UNNOTICED;
use scaling::{CALM_CHANGES, Deployment, MACHINES, Stage};

/// Leases are shorter here than in a cluster by this factor.
pub(crate) const SCALE: u64 = 5;
/// How long faults happen.
const FAULTY: Time = 6_000 * MS;
/// How long the run goes on after the last fault.
const RECOVERY: Time = 5_000 * MS;
/// Every client must have had an answer in this last part of the run.
const LAST: Time = 1_500 * MS;

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A process starts on a pod's machine.
    Boots(usize),
    Wakes(Who, u64),
    /// A statement arrives at the store.
    Arrives(u64, Box<Statement>),
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
    /// A pod asks another, and is answered.
    Passes(Box<Passed>),
    Replied(Question, Said),
    /// A pod hears that the connection to another is lost.
    Disconnected(Who, PodId),
    /// A gateway's connections to a pod break.
    HangsUp(usize, usize),
    /// A gateway hears which pods there are.
    Pods(usize, u64, BTreeSet<usize>),
    AtGateway(Request),
    AtClient(Request, Answer),
    /// A client asks the next thing, unless it has gone on since.
    Thinks(usize, u64),
    Fault,
    StoreIsBack,
    /// Something else is wanted of the pods that share the shards.
    Changes,
    /// Somebody sees to it that there are those that are wanted.
    Reconciles,
    /// Somebody looks whether all shards have owners.
    Inspects,
}

#[derive(Default)]
struct Client {
    /// What it waits for, if for anything.
    asked: Option<(u64, Asked)>,
    turns: u64,
    /// How often in a row its connection brought no answer.
    failures: u64,
    is_on_link: bool,
    asked_at: Time,
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
    /// The start and the holdings of its pod that were compared with the others' last.
    compared: Option<(u64, u64)>,
    stage: Stage,
    /// Of its pods.
    revision: u64,
}

/// A statement that runs.
struct Running {
    call: u64,
    /// Whom it declares dead.
    declares: Option<PodId>,
    noted: Noted,
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
    deployment: Deployment,
    /// The pods that gateways know.
    told: BTreeSet<usize>,
    seen: Seen,
    /// When a process has ended last.
    last_end: Time,
    /// Until when others may notice that one has died without a word.
    death_until: Time,
    /// So many shards of a pod may leave at the same time.
    most_leaving: usize,
}

impl World {
    pub fn new(seed: u64, without: Option<Mechanism>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let (has_objects, is_shared) = (crate::has_objects(seed), crate::is_shared(seed));
        let speed = match random.index(10) {
            // Pods that share have no terms: a gateway cannot tell which of two clocks to believe.
            0..=2 if !is_shared => Speed::Wild,
            0..=6 => Speed::Corrected,
            _ => Speed::Honest,
        };
        let wild_clocks = speed == Speed::Wild;
        let faults = settings::faults(&mut random, wild_clocks);
        let mut settings = settings::settings(&mut random, is_shared, without);
        let most_leaving = settings.max_shards_leaving as usize;
        if without == Some(Mechanism::LeavingLimit) {
            settings.max_shards_leaving = settings.shards;
        }
        let count = if is_shared {
            MACHINES
        } else {
            random.within(2, 3) as usize
        };
        let machine = |_| Machine {
            clock: Clock::new(&mut random, speed),
            pod: None,
            starts: 0,
            registering: None,
            paused_until: 0,
            compared: None,
            stage: if is_shared {
                Stage::Absent
            } else {
                Stage::Wanted
            },
            revision: 1,
        };
        let machines: Vec<Machine> = (0..count).map(machine).collect();
        let told = if is_shared { 0..0 } else { 0..count };
        let told: BTreeSet<usize> = told.collect();
        // Where clocks may be anything, only the filter of a gateway that sees all answers keeps stale ones back.
        let gateways = if wild_clocks { 1 } else { random.within(1, 2) };
        let gateways = (0..gateways as usize)
            .map(|number| Gateway::new(number, 0, told.clone(), settings.mechanisms));
        let gateways = gateways.collect();
        let keys = if is_shared {
            random.within(2, 5)
        } else {
            random.within(1, 3)
        };
        let keys = (0..keys).filter_map(|key| code::address(key as usize, has_objects));
        let keys: Vec<WorkerKey> = keys.collect();
        let clients = (0..random.within(2, 4)).map(|_| Client::default());
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
            deployment: Deployment::default(),
            told,
            seen: Seen::default(),
            last_end: 0,
            death_until: 0,
            most_leaving,
            net: Network::new(random, faults, (has_objects, is_shared), without, traced),
        }
    }

    /// What was wanted of the pods, and what became of them and of shards.
    pub fn moves(&self) -> Moves {
        self.deployment.moves
    }

    /// How long it goes on. Pods that share change some more times once nothing fails.
    fn end(&self) -> Time {
        FAULTY + RECOVERY + if self.net.is_shared { CALM_CHANGES } else { 0 }
    }

    /// Runs to the end. An error says which invariant was violated.
    pub fn run(&mut self) -> Result<(), Wrong> {
        if self.net.is_shared {
            self.deploy();
            self.net.after(FAULTY, Happening::Inspects);
        } else {
            for slot in 0..self.machines.len() {
                let delay = self.net.random.within(0, 50) * MS;
                self.net.after(delay, Happening::Boots(slot));
            }
        }
        for gateway in 0..self.gateways.len() {
            self.net.after(0, Happening::AskRound(gateway, 0));
        }
        for client in 0..self.clients.len() {
            self.net.after(100 * MS, Happening::Thinks(client, 0));
        }
        self.net.after(200 * MS, Happening::Fault);
        while let Some(happening) = self.net.next() {
            if self.net.now > self.end() {
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
            Happening::Arrives(call, statement) => self.arrives(call, *statement),
            Happening::Locks(call, statement) => self.locks(call, statement),
            Happening::Ends(call, statement) => return self.ends(call, statement),
            Happening::StoreIsBack => self.store_is_down = false,
            Happening::Changes => self.changes(),
            Happening::Reconciles => self.reconcile(),
            Happening::Inspects => return self.inspect(),
            Happening::AskRound(..)
            | Happening::Pods(..)
            | Happening::HangsUp(..)
            | Happening::Says(..)
            | Happening::AtGateway(..)
            | Happening::Answers(..) => self.at_gateway(happening),
            Happening::Thinks(client, turn) => return self.thinks(client, turn),
            Happening::AtClient(request, answer) => return self.at_client(request, answer),
            Happening::Fault => self.fault(),
            Happening::Wakes(..)
            | Happening::Replies(..)
            | Happening::Asks(..)
            | Happening::Passes(..)
            | Happening::Replied(..)
            | Happening::Disconnected(..)
            | Happening::Requests(..) => return self.at_pod(happening),
        }
        Ok(())
    }

    /// Until when the process that this concerns does nothing.
    fn is_paused(&self, happening: &Happening) -> Option<Time> {
        let slot = match happening {
            Happening::Wakes(who, _) | Happening::Disconnected(who, _) => who.slot,
            Happening::Replies(call, _) => self.net.caller(*call)?.slot,
            Happening::Asks(slot, _) | Happening::Requests(slot, _) => *slot,
            Happening::Passes(passed) => passed.slot,
            Happening::Replied((who, _), _) => who.slot,
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

    fn at_the_end(&mut self) -> Result<(), Wrong> {
        for key in 0..self.keys.len() {
            let list = self.stored(key)?;
            self.checker.stored(key, &list)?;
            let alarm = self.alarm(key);
            Checker::alarms(key, &list, alarm.is_some())?;
            let late = ((self.end() - LAST) / MS) as i64;
            if let Some(alarm) = alarm.filter(|alarm| alarm.due < late) {
                return Err(wrong!(
                    NoAlarm,
                    "worker {key} did not get its alarm: {alarm:?}"
                ));
            }
        }
        if self.net.is_shared {
            self.is_deployed()?;
        }
        let late = self.end() - LAST;
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
