//! The workers of a process: loaded when something is addressed to them, run by the worker crate, and their commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use portside_core::alarm::AlarmChange;
use portside_core::alarms::{self, Fate as AlarmFate, Receiver};
use portside_core::ids::{Fence, ShardId};
use portside_core::ownership::{Event, Role};
use portside_core::write::{Commit, Outcome, WriteBatch};
use portside_store_model::{Loaded, Reply, Statement};
use portside_worker::activation::End;
use portside_worker::cell::Arrival;
use portside_worker::event::Incoming;
use portside_worker::host::{CommitTicket, Error, Identity};
use portside_worker::inbox::Inbox;
use portside_worker::link::Failure;
use portside_worker::storage::Storage;

use crate::calls::Purpose;
use crate::code;
use crate::host::{Book, Submitted};
use crate::lanes::{Fate, Ticket};
use crate::network::{MS, Network, Time};
use crate::pod::{LANES, Pod};
use crate::running::{Parts, Running, options};

/// Ends and deliveries happen one after the other here: one receiver tells them apart.
const RECEIVER: Receiver = Receiver(0);

/// One worker in one process.
#[derive(Default)]
pub(crate) struct Worker {
    phase: Phase,
    /// Commits whose fate is not known, of this instance or an earlier one.
    pub open_commits: usize,
}

#[derive(Default)]
enum Phase {
    #[default]
    Asleep,
    /// It is to be loaded, once everything before is settled.
    Starting,
    Loading,
    Awake(Box<Running>),
    /// An object's: it lives with others.
    Resident,
    /// It has ended, and sleeps once its commits have their answers, unless something waits for it.
    Ended,
}

/// A commit whose fate is not known.
pub(crate) struct Open {
    key: usize,
    pub fence: Fence,
    /// The instance's; none for what the process itself writes.
    ticket: Option<CommitTicket>,
    alarm: Option<alarms::Ticket>,
    /// What is written once this is, where a turn's writes are not one batch.
    then: AlarmChange,
}

impl Worker {
    /// It is not awake, and nothing of it is on its way to the store.
    pub fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Asleep) && self.open_commits == 0
    }
}

impl Pod {
    pub(crate) fn shard(&self, key: usize) -> ShardId {
        self.shard_of[key]
    }

    pub(crate) fn now_ms(net: &Network) -> i64 {
        (net.now / MS) as i64
    }

    /// Whether nothing of any worker waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.retries.is_empty() && self.waits_since().is_none()
    }

    /// One step of a worker; whether there may be another.
    pub(crate) fn pump(&mut self, net: &mut Network, key: usize) -> bool {
        let is_settled = self.workers[key].open_commits == 0;
        match &mut self.workers[key].phase {
            Phase::Loading | Phase::Resident => false,
            Phase::Asleep => {
                let waits = self.host.inbox(key).is_some_and(|it| !it.is_empty());
                if waits {
                    self.workers[key].phase = Phase::Starting;
                }
                waits
            }
            Phase::Ended => {
                if is_settled {
                    self.close_or_restart(net, key);
                }
                is_settled
            }
            // A successor is not loaded before all commits of its predecessors have been answered.
            Phase::Starting => is_settled && self.load(net, key),
            Phase::Awake(running) => {
                let (ran, end) = running.poll(self.clock.us(net.now));
                if let Some(end) = end {
                    self.ended(net, key, &end);
                }
                ran
            }
        }
    }

    fn load(&mut self, net: &mut Network, key: usize) -> bool {
        if self.leaves(key) {
            self.close_or_restart(net, key);
            return true;
        }
        if self.state.role() == Role::Standby {
            return false;
        }
        let shard = self.shard(key);
        if let Some(fence) = self.state.fence(shard) {
            self.workers[key].phase = Phase::Loading;
            let load = Statement::Load {
                fence,
                worker: self.keys[key].id(),
                max_keys: usize::MAX,
                max_bytes: usize::MAX,
            };
            net.call(self.who, load, Purpose::Load(key, fence));
            return false;
        }
        let in_doubt = self.state.is_in_doubt(shard);
        if !in_doubt {
            self.not_ours(net, key);
        }
        !in_doubt
    }

    /// Whether a worker is about to go to another pod.
    fn leaves(&self, key: usize) -> bool {
        self.host.inbox(key).is_some_and(|it| it.is_leaving())
    }

    fn not_ours(&mut self, net: &Network, key: usize) {
        if let Some(inbox) = self.host.inbox(key) {
            if self.sharing.is_some() {
                self.hand_on(net, key, &inbox);
            }
            inbox.refuse_all(&Failure::unavailable(
                "this process does not own the worker",
            ));
        }
        self.alarms.turned_away(&self.keys[key], RECEIVER);
        self.close_or_restart(net, key);
    }

    fn close_or_restart(&mut self, net: &Network, key: usize) {
        let Some(inbox) = self.host.inbox(key) else {
            self.workers[key].phase = match self.workers[key].open_commits {
                0 => Phase::Asleep,
                _ => Phase::Ended,
            };
            return;
        };
        inbox.forget_instance();
        if inbox.is_leaving() {
            // It sleeps once its commits have their answers: not before is its shard at rest.
            self.hand_on(net, key, &inbox);
            self.alarms.turned_away(&self.keys[key], RECEIVER);
            return self.close_or_restart(net, key);
        }
        self.workers[key].phase = if self.workers[key].open_commits > 0 {
            Phase::Ended
        } else if inbox.close_if_empty() {
            self.host.forget_inbox(key);
            Phase::Asleep
        } else {
            Phase::Starting
        };
    }

    pub(crate) fn loaded(
        &mut self,
        net: &mut Network,
        key: usize,
        fence: Fence,
        reply: Option<Reply>,
    ) {
        match (reply, self.host.inbox(key)) {
            (Some(Reply::Loaded(Some(_))), Some(inbox)) if inbox.is_leaving() => {
                self.close_or_restart(net, key);
            }
            (Some(Reply::Loaded(Some(loaded))), Some(inbox)) => {
                if let Err(wrong) = code::stored_list(&loaded.entries, self.has_objects) {
                    self.wrong = Some(wrong);
                }
                let ledger = Arc::new(Book {
                    host: self.host.clone(),
                    key,
                    fence,
                });
                self.workers[key].phase = if self.has_objects {
                    self.admit(net, key, loaded, ledger, inbox);
                    Phase::Resident
                } else {
                    Phase::Awake(Box::new(self.begin(net, key, loaded, ledger, inbox)))
                };
            }
            (Some(_), _) => {
                self.step(net, Event::Refused(fence));
                self.not_ours(net, key);
            }
            (None, inbox) => {
                if let Some(inbox) = inbox {
                    inbox.refuse_all(&Failure::unavailable("the store fails"));
                }
                let now = Self::now_ms(net);
                self.alarms.store_failed(&self.keys[key], RECEIVER, now);
                self.close_or_restart(net, key);
            }
        }
    }

    /// A worker begins, in an isolate of its own.
    fn begin(
        &self,
        net: &Network,
        key: usize,
        loaded: Loaded,
        ledger: Arc<Book>,
        inbox: Arc<Inbox>,
    ) -> Running {
        let Loaded {
            entries,
            complete,
            alarm,
        } = loaded;
        let parts = Parts {
            identity: Identity::Worker(self.keys[key].clone()),
            storage: Storage::loaded(entries, complete, alarm),
            sockets: None,
            ledger: Some(ledger),
            inbox,
            idle: self.idle,
        };
        let code = code::worker(self.host.clone());
        let now = self.clock.us(net.now);
        Running::new(&self.host, parts, code, now, net.without)
    }

    /// An object is sent to the isolate of the server.
    fn admit(
        &mut self,
        net: &Network,
        key: usize,
        loaded: Loaded,
        ledger: Arc<Book>,
        inbox: Arc<Inbox>,
    ) {
        let parts = Parts {
            identity: code::object(key),
            storage: Storage::loaded(BTreeMap::new(), true, loaded.alarm),
            sockets: Some(self.host.sockets(key)),
            ledger: Some(ledger),
            inbox,
            idle: self.idle,
        };
        let host = self.host.clone();
        let mut arrival = Box::new(Arrival {
            options: options(&self.host, parts),
            stored: loaded.entries,
            ended: Box::new(move |end| host.ends(key, end)),
        });
        while let Err(returned) = self.server(net).cell.admit(*arrival) {
            arrival = returned;
            self.server = None; // it fell asleep
        }
    }

    /// Hears of objects that are gone; whether there were any.
    pub(crate) fn hear_ends(&mut self, net: &mut Network) -> bool {
        let mut ended = false;
        while let Some((key, end)) = self.host.next_ended() {
            self.ended(net, key, &end);
            ended = true;
        }
        ended
    }

    fn ended(&mut self, net: &mut Network, key: usize, end: &End) {
        let slot = self.who.slot;
        net.trace(|| format!("pod {slot} ends worker {key}: {end:?}"));
        self.workers[key].phase = Phase::Ended;
        // One that waits still is its successor's, or that of the pod to which the worker goes.
        let waits = self.host.inbox(key).is_some_and(|it| it.has_alarm());
        let now = Self::now_ms(net);
        let ended = (!waits)
            .then(|| {
                self.alarms
                    .instance_ended(&self.keys[key], RECEIVER, false, now)
            })
            .flatten();
        if let Some(change) = ended {
            self.workers[key].open_commits += 1;
            self.retries.push((key, change));
        }
        if *end == End::Slept {
            self.workers[key].phase = Phase::Asleep;
            // What has come since is in another one, and wakes the worker again.
            if self.host.inbox(key).is_some_and(|it| it.close_if_empty()) {
                self.host.forget_inbox(key);
            }
        } else {
            self.close_or_restart(net, key);
        }
    }

    // Commits.

    /// Hands what instances and ended deliveries write to the lanes; whether there was anything.
    pub(crate) fn submit(&mut self) -> bool {
        let mut submitted = false;
        while let Some(next) = self.host.next_submitted() {
            let Submitted {
                key,
                fence,
                batch,
                ticket,
            } = next;
            self.workers[key].open_commits += 1;
            self.submit_one(key, fence, batch, Some(ticket));
            submitted = true;
        }
        for (key, change) in std::mem::take(&mut self.retries) {
            let shard = self.shard(key);
            if let Some(fence) = self.state.fence(shard) {
                let batch = WriteBatch {
                    alarm: change,
                    ..WriteBatch::default()
                };
                self.submit_one(key, fence, batch, None);
                submitted = true;
            } else if self.state.is_in_doubt(shard) {
                self.retries.push((key, change));
            } else {
                self.alarms.retry_failed(&self.keys[key]);
                self.workers[key].open_commits -= 1;
                submitted = true;
            }
        }
        submitted
    }

    fn submit_one(
        &mut self,
        key: usize,
        fence: Fence,
        batch: WriteBatch,
        ticket: Option<CommitTicket>,
    ) {
        self.tickets += 1;
        let mut batch = batch;
        let then = match &ticket {
            Some(_) if self.is_without_one_batch && !batch.writes.is_empty() => {
                std::mem::take(&mut batch.alarm)
            }
            _ => AlarmChange::Keep,
        };
        let alarm = match batch.alarm {
            AlarmChange::Keep => None,
            change => self.alarms.submitted(&self.keys[key], change),
        };
        let open = Open {
            key,
            fence,
            ticket,
            alarm,
            then,
        };
        self.open.insert(self.tickets, open);
        let worker = self.keys[key].clone();
        let commit = Commit {
            fence,
            worker,
            batch,
        };
        self.lanes[fence.shard.0 as usize % LANES].submit(self.tickets, commit);
    }

    pub(crate) fn written(&mut self, net: &mut Network, lane: usize, reply: Option<Reply>) {
        let written = match reply {
            Some(Reply::Written(written)) => Some(written),
            _ => None,
        };
        let (again, fates) = self.lanes[lane].answered(written);
        self.sent(net, lane, again, fates);
    }

    /// Carries out what a lane wants; whether that was anything.
    pub(crate) fn sent(
        &mut self,
        net: &mut Network,
        lane: usize,
        statement: Option<Statement>,
        fates: Vec<(Ticket, Fate)>,
    ) -> bool {
        if let Some(statement) = statement {
            net.call(self.who, statement, Purpose::Commit(lane));
        }
        let is_answered = !fates.is_empty();
        for (ticket, fate) in fates {
            let Some(fence) = self.open.get(&ticket).map(|open| open.fence) else {
                continue;
            };
            match fate {
                Ok(Outcome::Committed) => self.settle(net, ticket, AlarmFate::Committed),
                Ok(Outcome::Fenced) => {
                    self.step(net, Event::Refused(fence));
                    self.settle(net, ticket, AlarmFate::Refused);
                }
                // Only in the next epoch does a load tell what became of it.
                Err(_) => {
                    self.unsettled.push(ticket);
                    self.step(net, Event::CommitFateUnknown(fence));
                }
            }
        }
        is_answered
    }

    /// A commit's fate is known, or will be by loading.
    pub(crate) fn settle(&mut self, net: &Network, ticket: Ticket, fate: AlarmFate) {
        let Some(open) = self.open.remove(&ticket) else {
            return;
        };
        if let Some(alarm) = open.alarm {
            let worker = &self.keys[open.key];
            self.alarms.settled(worker, alarm, fate, Self::now_ms(net));
        }
        if let Some(ticket) = open.ticket {
            ticket.settle(match fate {
                AlarmFate::Committed => Ok(()),
                AlarmFate::Refused => Err(Error::Fenced),
                AlarmFate::Unknown => Err(Error::Store("no answer".to_owned())),
            });
        }
        if fate == AlarmFate::Committed && open.then != AlarmChange::Keep {
            self.retries.push((open.key, open.then));
            return;
        }
        self.workers[open.key].open_commits -= 1;
    }

    // Alarms.

    /// Reads the alarms that are due soon, and delivers those that are due.
    pub(crate) fn ring(&mut self, net: &mut Network) -> bool {
        let now = Self::now_ms(net);
        while let Some((key, alarm)) = self.host.next_outdated() {
            self.alarms.not_matched(&self.keys[key], alarm);
        }
        if let Some(query) = self.alarms.read(now) {
            let read = Statement::Alarms {
                shards: self.state.held().map(|(shard, _)| shard).collect(),
                after: query.after,
                until: query.until,
                limit: query.limit,
            };
            net.call(self.who, read, Purpose::Alarms);
        }
        let mut rings = false;
        while let Some((worker, alarm)) = self.alarms.take_due(now) {
            rings = true;
            let key = self.keys.iter().position(|key| *key == worker);
            let serves = |key: &usize| {
                let shard = self.shard(*key);
                let sharing = self.sharing.as_ref();
                sharing.is_none_or(|it| self.state.epoch(shard).is_some() && !it.is_leaving(shard))
            };
            if !key.as_ref().is_some_and(serves) {
                // Whoever has the shard then delivers it.
                self.alarms.left(&worker);
            } else if let Some(key) = key {
                let slot = self.who.slot;
                net.trace(|| format!("pod {slot} delivers the alarm of worker {key}: {alarm:?}"));
                // Alarms always fit.
                let _ = self.host.deliver(key, Incoming::Alarm(alarm));
                self.alarms.delivered(&worker, RECEIVER);
            }
        }
        rings
    }

    /// When an alarm or an instance wants to be looked at, though nothing happens.
    pub(crate) fn next_look(&self, net: &Network) -> Time {
        let now = Self::now_ms(net);
        let alarm = self.alarms.next(now).max(now + 1) as Time * MS;
        let awake = self
            .workers
            .iter()
            .filter_map(|worker| match &worker.phase {
                Phase::Awake(running) => running.until,
                _ => None,
            });
        let sharing = self.sharing.as_ref().and_then(|it| it.next(net.now));
        let alarm = sharing.map_or(alarm, |at| at.min(alarm));
        let instances = awake.chain(self.server.as_ref().and_then(|server| server.until));
        let instance = instances
            .min()
            .map(|us| net.now + self.clock.until_us(net.now, us));
        instance.map_or(alarm, |at| at.min(alarm))
    }
}
