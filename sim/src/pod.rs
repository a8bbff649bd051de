//! One process of a pod: the ownership machine of core, workers, lanes.

use std::collections::BTreeMap;

use portside_core::ids::{Fence, PodId, WorkerKey};
use portside_core::ownership::gateway::Claim;
use portside_core::ownership::{Effect, Event, FateUnknown, Role, Settings, State};
use portside_store_model::{Reply, Statement, Write, Written};

use crate::calls::{Purpose, Who};
use crate::lanes::{Fate, Lane, Ticket};
use crate::mechanism::Mechanism;
use crate::network::{Clock, MS, Network, Node, Time};
use crate::worker::{Answer, Instance, Phase, Request, Worker};
use crate::world::Happening;

const LANES: usize = 2;

/// A process that has registered itself with the store.
#[derive(Debug)]
pub(crate) struct Pod {
    pub who: Who,
    pub state: State,
    pub clock: Clock,
    shards: u32,
    keys: Vec<WorkerKey>,
    workers: BTreeMap<usize, Worker>,
    lanes: Vec<Lane>,
    /// Commits whose fate is waited for.
    unsettled: Vec<Ticket>,
    instances: u64,
    wakings: u64,
    /// Once it drains: when it gives up waiting for what it has begun.
    drains_until: Option<Time>,
    /// The first thing it saw that must not be.
    pub violation: Option<String>,
}

impl Pod {
    pub fn new(
        who: Who,
        id: PodId,
        clock: Clock,
        registered_ms: u64,
        settings: Settings,
        keys: Vec<WorkerKey>,
    ) -> Self {
        Self {
            who,
            state: State::new(id, settings, registered_ms),
            clock,
            shards: settings.shards,
            workers: (0..keys.len())
                .map(|key| (key, Worker::default()))
                .collect(),
            keys,
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            unsettled: Vec::new(),
            instances: 0,
            wakings: 0,
            drains_until: None,
            violation: None,
        }
    }

    pub fn start(&mut self, net: &mut Network) {
        self.step(net, Event::Woken);
        self.step(net, Event::Wanted);
    }

    /// What it says of itself.
    pub fn claim(&self, net: &Network) -> Claim {
        match self.state.role() {
            Role::Active { term } if self.is_leased(net) => Claim::Active(term),
            Role::Active { .. } | Role::Standby => Claim::Standby,
            Role::Draining => Claim::Draining,
            Role::Over => Claim::Unknown,
        }
    }

    /// Whether answers may leave: nobody else can own the shards at this moment.
    fn is_leased(&self, net: &Network) -> bool {
        let may_answer = matches!(self.state.role(), Role::Active { .. } | Role::Draining);
        may_answer && self.clock.ms(net.now) < self.state.lease_valid_until()
    }

    fn is_active(&self, net: &Network) -> bool {
        matches!(self.claim(net), Claim::Active(_))
    }

    /// The time that the machine wanted to be woken at has come.
    pub fn woken(&mut self, net: &mut Network, waking: u64) {
        if waking == self.wakings {
            self.step(net, Event::Woken);
        } else {
            self.react(net);
        }
    }

    /// Takes no new work from now on.
    pub fn drain(&mut self, net: &mut Network) {
        self.drains_until = Some(net.now + 300 * MS);
        self.step(net, Event::Drain);
    }

    fn step(&mut self, net: &mut Network, event: Event) {
        let now = self.clock.ms(net.now);
        let slot = self.who.slot;
        net.trace(|| format!("pod {slot} learns {event:?}"));
        let effects = self.state.step(event, now);
        let mut settled = Vec::new();
        for effect in effects {
            net.trace(|| format!("pod {slot} wants {effect:?}"));
            match effect {
                Effect::WakeAt(ms) => {
                    self.wakings += 1;
                    let delay = self.clock.until(net.now, ms);
                    net.after(delay, Happening::Wakes(self.who, self.wakings));
                }
                Effect::Settled(fence) => settled.push(fence),
                call => self.call_for_ownership(net, call),
            }
        }
        for fence in settled {
            self.settled(net, fence);
        }
        self.react(net);
    }

    fn call_for_ownership(&self, net: &mut Network, effect: Effect) {
        let pod = self.state.pod();
        let (statement, purpose) = match effect {
            Effect::Renew(call) => (Statement::Renew { pod }, Purpose::Renew(call)),
            Effect::Observe(call) => (Statement::Observe, Purpose::Observe(call)),
            Effect::DeclareDead { pod, seen } => (
                Statement::DeclareDead { pod, seen },
                Purpose::DeclareDead(pod),
            ),
            Effect::Claim { call, limit } => {
                (Statement::Claim { pod, limit }, Purpose::Claim(call))
            }
            Effect::ReadOwned(call) => (Statement::Owned { pod }, Purpose::ReadOwned(call)),
            Effect::Advance(call, fence) => {
                (Statement::Advance { fence }, Purpose::Advance(call, fence))
            }
            Effect::ReleaseShards(call, fences) => (
                Statement::ReleaseShards { fences },
                Purpose::ReleaseShards(call),
            ),
            Effect::Release => (Statement::Release { pod }, Purpose::Release),
            Effect::WakeAt(_) | Effect::Settled(_) => return,
        };
        net.call(self.who, statement, purpose);
    }

    /// The store answered a call, or gave it up.
    pub fn replied(&mut self, net: &mut Network, purpose: Purpose, reply: Option<Reply>) {
        let unknown = FateUnknown;
        let event = match purpose {
            Purpose::Register => return,
            Purpose::Load(key, fence) => return self.loaded(net, key, fence, reply),
            Purpose::Commit(lane) => return self.written(net, lane, reply),
            Purpose::Renew(call) => Event::Renewed(
                call,
                match reply {
                    Some(Reply::Is(alive)) => Ok(alive),
                    _ => Err(unknown),
                },
            ),
            Purpose::DeclareDead(pod) => Event::DeclaredDead(
                pod,
                match reply {
                    Some(Reply::Is(dead)) => Ok(dead),
                    _ => Err(unknown),
                },
            ),
            Purpose::Observe(call) => Event::Observed(
                call,
                match reply {
                    Some(Reply::Pods(pods)) => Ok(pods),
                    _ => Err(unknown),
                },
            ),
            Purpose::Claim(call) | Purpose::ReadOwned(call) => {
                let shards = match reply {
                    Some(Reply::Shards(shards)) => Ok(shards),
                    _ => Err(unknown),
                };
                match purpose {
                    Purpose::Claim(_) => Event::Claimed(call, shards),
                    _ => Event::Owned(call, shards),
                }
            }
            Purpose::Advance(call, fence) => Event::Advanced(
                call,
                fence,
                match reply {
                    Some(Reply::Epoch(epoch)) => Ok(epoch),
                    _ => Err(unknown),
                },
            ),
            Purpose::ReleaseShards(call) => {
                Event::ShardsReleased(call, reply.map(drop).ok_or(unknown))
            }
            Purpose::Release => Event::Released(reply.map(drop).ok_or(unknown)),
        };
        self.step(net, event);
    }

    /// A gateway hands a request over.
    pub fn request(&mut self, net: &mut Network, request: Request) {
        if !request.on_link && !self.is_active(net) {
            return self.send(net, request, Answer::NotRun);
        }
        if let Some(worker) = self.workers.get_mut(&request.key) {
            worker.inbox.push_back(request);
        }
        self.react(net);
    }

    fn send(&self, net: &mut Network, request: Request, answer: Answer) {
        let slot = self.who.slot;
        net.trace(|| format!("pod {slot} answers {request:?}: {answer:?}"));
        let (from, to) = (Node::Pod(slot), Node::Gateway(request.gateway));
        net.send(from, to, Happening::Answers(self.who, request, answer));
    }

    /// Lets every worker go on as far as it can, and what may leave leave.
    fn react(&mut self, net: &mut Network) {
        for key in 0..self.keys.len() {
            while self.pump(net, key) {}
        }
        for lane in 0..LANES {
            let (statement, answered) = self.lanes[lane].next(net.without);
            self.sent(net, lane, statement, answered);
        }
        self.drained(net);
    }

    /// Whether it has ended what it began, or waited long enough.
    fn drained(&mut self, net: &mut Network) {
        let Some(until) = self.drains_until else {
            return;
        };
        let mut workers = self.workers.values();
        let is_idle = workers.all(|it| it.inbox.is_empty() && it.open_commits == 0)
            && self.lanes.iter().all(Lane::is_empty);
        if is_idle || net.now >= until {
            self.drains_until = None;
            self.step(net, Event::Release);
        } else {
            net.after(20 * MS, Happening::Wakes(self.who, 0));
        }
    }

    fn shard(&self, key: usize) -> portside_core::ids::ShardId {
        self.keys[key].id().shard(self.shards)
    }

    /// One step of a worker; whether there may be another.
    fn pump(&mut self, net: &mut Network, key: usize) -> bool {
        let is_leased = self.is_leased(net);
        let shard = self.shard(key);
        let (fence, in_doubt) = (self.state.fence(shard), self.state.is_in_doubt(shard));
        let Some(worker) = self.workers.get_mut(&key) else {
            return false;
        };
        match &mut worker.phase {
            Phase::Loading => false,
            Phase::Asleep => {
                // A successor is not loaded before all commits of its predecessors have been answered.
                if worker.inbox.is_empty() || worker.open_commits > 0 {
                    return false;
                }
                if let Some(fence) = fence {
                    worker.phase = Phase::Loading;
                    let load = Statement::Load {
                        fence,
                        worker: self.keys[key].id(),
                        max_keys: usize::MAX,
                        max_bytes: usize::MAX,
                    };
                    net.call(self.who, load, Purpose::Load(key, fence));
                } else if !in_doubt {
                    for request in std::mem::take(&mut worker.inbox) {
                        self.send(net, request, Answer::NotRun);
                    }
                }
                false
            }
            Phase::Awake(instance) => {
                if let Some((request, answer)) = instance.release(is_leased, net.without) {
                    self.send(net, request, answer);
                    return true;
                }
                if fence != Some(instance.fence) {
                    // What it remembers may have been changed by an owner in between.
                    if fence.is_some() || !in_doubt {
                        self.kill(net, key);
                        return true;
                    }
                    return false;
                }
                match worker.inbox.pop_front() {
                    Some(request) => {
                        self.turn(net, key, request);
                        true
                    }
                    None => {
                        if instance.is_quiet() && net.random.chance(50) {
                            worker.phase = Phase::Asleep;
                        }
                        false
                    }
                }
            }
        }
    }

    fn turn(&mut self, net: &mut Network, key: usize, request: Request) {
        let is_leased = self.is_leased(net);
        let killed = net.faults.killed;
        let is_killed = net.fails(killed);
        let Some(worker) = self.workers.get_mut(&key) else {
            return;
        };
        let Phase::Awake(instance) = &mut worker.phase else {
            return;
        };
        let mut batch = None;
        if let Some(entry) = request.appends {
            if !is_killed {
                batch = Some(instance.append(entry));
            } else if net.is_without(Mechanism::DiscardKilledTurn) {
                batch = Some((0, instance.torn(entry)));
            }
        }
        if let Some((seq, batch)) = batch {
            let fence = instance.fence;
            let ticket = Ticket {
                key,
                instance: instance.number,
                seq,
                fence,
            };
            worker.open_commits += 1;
            let write = Write {
                fence,
                worker: self.keys[key].clone(),
                batch,
            };
            self.lanes[fence.shard.0 as usize % LANES].submit(ticket, write);
        }
        if is_killed {
            self.send(net, request, Answer::Failed);
            self.kill(net, key);
        } else if let Some((to, answer)) = instance.answer(request, is_leased, net.without) {
            self.send(net, to, answer);
        }
    }

    /// Ends an instance. What its gate holds never leaves.
    fn kill(&mut self, net: &mut Network, key: usize) {
        let Some(worker) = self.workers.get_mut(&key) else {
            return;
        };
        if let Phase::Awake(instance) = std::mem::take(&mut worker.phase) {
            let slot = self.who.slot;
            net.trace(|| format!("pod {slot} ends worker {key}"));
            for request in instance.into_held() {
                self.send(net, request, Answer::Failed);
            }
        }
    }

    fn loaded(&mut self, net: &mut Network, key: usize, fence: Fence, reply: Option<Reply>) {
        self.instances += 1;
        let number = self.instances;
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.phase = Phase::Asleep;
            match reply {
                Some(Reply::Loaded(Some(loaded))) => {
                    match Instance::load(number, fence, &loaded.entries) {
                        Ok(instance) => worker.phase = Phase::Awake(instance),
                        Err(torn) => self.violation = Some(format!("worker {key}: {torn}")),
                    }
                }
                Some(_) => return self.step(net, Event::Refused(fence)),
                None => return net.after(20 * MS, Happening::Wakes(self.who, 0)),
            }
        }
        self.react(net);
    }

    fn written(&mut self, net: &mut Network, lane: usize, reply: Option<Reply>) {
        let written = match reply {
            Some(Reply::Written(written)) => Some(written),
            _ => None,
        };
        let (again, fates) = self.lanes[lane].answered(written, net.without);
        self.sent(net, lane, again, fates);
        self.react(net);
    }

    fn sent(
        &mut self,
        net: &mut Network,
        lane: usize,
        statement: Option<Statement>,
        fates: Vec<(Ticket, Fate)>,
    ) {
        if let Some(statement) = statement {
            net.call(self.who, statement, Purpose::Commit(lane));
        }
        for (ticket, fate) in fates {
            match fate {
                Some(fate) => self.answered(net, ticket, fate == Written::Committed),
                None => {
                    self.unsettled.push(ticket);
                    self.step(net, Event::CommitFateUnknown(ticket.fence));
                }
            }
        }
    }

    /// A commit's fate is known, or will be by loading.
    fn answered(&mut self, net: &mut Network, ticket: Ticket, is_durable: bool) {
        let Some(worker) = self.workers.get_mut(&ticket.key) else {
            return;
        };
        worker.open_commits -= 1;
        if let Phase::Awake(instance) = &mut worker.phase
            && instance.number == ticket.instance
        {
            if is_durable {
                instance.settle(ticket.seq);
            } else {
                self.kill(net, ticket.key);
            }
        }
        if !is_durable {
            self.step(net, Event::Refused(ticket.fence));
        }
    }

    fn settled(&mut self, net: &mut Network, fence: Fence) {
        let is_it = |ticket: &Ticket| ticket.fence == fence;
        let (settled, rest) = std::mem::take(&mut self.unsettled)
            .into_iter()
            .partition(is_it);
        self.unsettled = rest;
        let settled: Vec<Ticket> = settled;
        for ticket in settled {
            let Some(worker) = self.workers.get_mut(&ticket.key) else {
                continue;
            };
            worker.open_commits -= 1;
            let is_its = matches!(&worker.phase, Phase::Awake(it) if it.number == ticket.instance);
            if is_its {
                self.kill(net, ticket.key);
            }
        }
    }
}
