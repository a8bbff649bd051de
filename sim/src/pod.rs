//! One process of a pod: the ownership machine of core, a server, workers, lanes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portside_core::alarm::AlarmChange;
use portside_core::alarms::{Alarms, Fate as AlarmFate};
use portside_core::ids::{Fence, PodId, ShardId, WorkerKey};
use portside_core::ownership::gateway::Claim;
use portside_core::ownership::{
    Effect, Event, FateUnknown, Role, Settings, Sharing as Shares, State,
};
use portside_exchange::{Body, Request as Fetch, Response};
use portside_store_model::{Reply, Statement};
use portside_worker::caller::Call;
use portside_worker::host::Identity;
use portside_worker::inbox::Inbox;
use portside_worker::storage::Storage;

use crate::calls::{Purpose, Who};
use crate::checker::Wrong;
use crate::code::{self, answered_list};
use crate::host::Host;
use crate::lanes::{Lane, Ticket};
use crate::leaving::Sharing;
use crate::lines::Line;
use crate::mechanism::Mechanism;
use crate::network::{Clock, MS, Network, Node, Time};
use crate::passing::Passing;
use crate::random::Random;
use crate::request::{Answer, Request};
use crate::running::{Parts, Running};
use crate::workers::{Open, Worker};
use crate::world::Happening;

pub(crate) const LANES: usize = 2;
/// Without events for one of these times, by the seed, instances sleep, in milliseconds.
const IDLE_MS: [u64; 3] = [100, 1_000, 5_000];

/// A process that has registered itself with the store.
pub(crate) struct Pod {
    pub who: Who,
    pub state: State,
    pub clock: Clock,
    pub(crate) shards: u32,
    pub(crate) keys: Vec<WorkerKey>,
    /// By worker: where it is.
    pub(crate) shard_of: Vec<ShardId>,
    pub(crate) host: Arc<Host>,
    pub(crate) workers: Vec<Worker>,
    /// Its workers are objects.
    pub(crate) has_objects: bool,
    /// What a turn writes becomes two batches.
    pub(crate) is_without_one_batch: bool,
    pub(crate) server: Option<Running>,
    /// Requests that the server has, or will have, and since when.
    pub(crate) calls: Vec<(Request, Call<Response>, Time)>,
    /// By object: the socket that is open to it.
    lines: Vec<Option<Line>>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) open: BTreeMap<Ticket, Open>,
    pub(crate) tickets: Ticket,
    /// Commits whose fate is waited for.
    pub(crate) unsettled: Vec<Ticket>,
    pub(crate) alarms: Alarms,
    /// Failed deliveries that are to be stored.
    pub(crate) retries: Vec<(usize, AlarmChange)>,
    /// Without events for this long instances sleep.
    pub(crate) idle: Duration,
    /// When it is woken for what it looked for last.
    looks_at: Time,
    /// The fences that were given when that was last looked at.
    fences: Vec<Option<Fence>>,
    revision: u64,
    wakings: u64,
    /// If it shares the shards with other pods.
    pub(crate) sharing: Option<Sharing>,
    /// Once it drains: when it gives up waiting for what it has begun.
    drains_until: Option<Time>,
    /// The first thing it saw that must not be.
    pub wrong: Option<Wrong>,
}

impl Pod {
    pub fn new(
        who: Who,
        id: PodId,
        clock: Clock,
        registered_ms: u64,
        settings: Settings,
        keys: Vec<WorkerKey>,
        net: &mut Network,
    ) -> Self {
        let mut random = Random::new(net.random.next());
        let lanes = (0..LANES).map(|_| Lane::new(settings.mechanisms, net.without));
        let idle = Duration::from_millis(IDLE_MS[random.index(IDLE_MS.len())]);
        let shares = settings.sharing == Shares::Shared;
        let sharing = shares.then(|| Sharing::new(id, settings.shards, Passing::default()));
        let links = sharing.as_ref().map(|it| it.passing.links.clone());
        Self {
            who,
            state: State::new(id, settings, registered_ms),
            clock,
            shards: settings.shards,
            host: Host::new(keys.clone(), random, links),
            workers: keys.iter().map(|_| Worker::default()).collect(),
            lines: keys.iter().map(|_| None).collect(),
            shard_of: keys
                .iter()
                .map(|key| key.id().shard(settings.shards))
                .collect(),
            keys,
            has_objects: net.has_objects,
            is_without_one_batch: net.is_without(Mechanism::OneBatch),
            server: None,
            calls: Vec::new(),
            lanes: lanes.collect(),
            open: BTreeMap::new(),
            tickets: 0,
            unsettled: Vec::new(),
            alarms: Alarms::default(),
            retries: Vec::new(),
            idle,
            looks_at: 0,
            fences: vec![None; settings.shards as usize],
            revision: 0,
            wakings: 0,
            sharing,
            drains_until: None,
            wrong: None,
        }
    }

    pub fn start(&mut self, net: &mut Network) {
        self.step(net, Event::Woken);
        self.step(net, Event::Wanted);
        self.react(net);
    }

    /// What it says of itself.
    pub fn claim(&self, net: &Network) -> Claim {
        match self.state.role() {
            Role::Active { .. } if self.sharing.is_some() && self.is_leased(net) => Claim::Serving,
            Role::Active { term } if self.is_leased(net) => Claim::Active(term),
            Role::Active { .. } | Role::Standby => Claim::Standby,
            Role::Draining => Claim::Draining,
            Role::Over => Claim::Unknown,
        }
    }

    /// Whether answers may leave: nobody else can own the shards at this moment.
    pub(crate) fn is_leased(&self, net: &Network) -> bool {
        let may_answer = self.state.role() != Role::Over;
        may_answer && self.clock.ms(net.now) < self.state.lease_valid_until()
    }

    fn is_active(&self, net: &Network) -> bool {
        matches!(self.claim(net), Claim::Active(_) | Claim::Serving)
    }

    /// The time that the machine wanted to be woken at has come.
    pub fn woken(&mut self, net: &mut Network, waking: u64) {
        if waking == self.wakings {
            self.step(net, Event::Woken);
        }
        self.react(net);
    }

    /// Takes no new work from now on.
    pub fn drain(&mut self, net: &mut Network) {
        if !self.gives_everything_away(net) {
            self.drains_until = Some(net.now + 300 * MS);
        }
        self.step(net, Event::Drain);
        self.react(net);
    }

    pub(crate) fn step(&mut self, net: &mut Network, event: Event) {
        let now = self.clock.ms(net.now);
        let slot = self.who.slot;
        net.trace(|| format!("pod {slot} learns {event:?}"));
        let effects = self.state.step(event, now);
        let (mut settled, mut quiesce) = (Vec::new(), Vec::new());
        for effect in effects {
            net.trace(|| format!("pod {slot} wants {effect:?}"));
            match effect {
                Effect::WakeAt(ms) => {
                    self.wakings += 1;
                    let delay = self.clock.until(net.now, ms);
                    net.after(delay, Happening::Wakes(self.who, self.wakings));
                }
                Effect::Settled(fence) => settled.push(fence),
                Effect::LeaseExtended { expired } if now >= expired => self.host.tell_all(),
                Effect::LeaseExtended { .. } => {}
                Effect::Quiesce {
                    call, count, only, ..
                } => quiesce.push((call, (count, only))),
                call => self.call_for_ownership(net, call),
            }
        }
        for (call, which) in quiesce {
            self.quiesce(net, call, which);
        }
        for fence in settled {
            let is_its = |ticket: &mut Ticket| {
                self.open
                    .get(ticket)
                    .is_some_and(|open| open.fence == fence)
            };
            let tickets: Vec<Ticket> = self.unsettled.extract_if(.., is_its).collect();
            for ticket in tickets {
                self.settle(net, ticket, AlarmFate::Unknown);
            }
        }
    }

    fn call_for_ownership(&self, net: &mut Network, effect: Effect) {
        let pod = self.state.pod();
        let (statement, purpose) = match effect {
            Effect::Renew { call, wants } => {
                let number = call;
                let renewal = Statement::Renew { pod, number, wants };
                (renewal, Purpose::Renew(call))
            }
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
            Effect::ObserveMembership(call) => (Statement::Members, Purpose::Count(call)),
            Effect::HandOver(call, fences, to) => (
                Statement::HandOver { fences, to },
                Purpose::HandOver(call, to),
            ),
            Effect::LeaseExtended { .. } | Effect::WakeAt(_) => return,
            Effect::Settled(_) | Effect::Quiesce { .. } => return,
        };
        net.call(self.who, statement, purpose);
    }

    /// The store answered a call, or gave it up.
    pub fn replied(&mut self, net: &mut Network, purpose: Purpose, reply: Option<Reply>) {
        match purpose {
            Purpose::Register | Purpose::Announce => return,
            Purpose::Load(key, fence) => self.loaded(net, key, fence, reply),
            Purpose::Commit(lane) => self.written(net, lane, reply),
            Purpose::Alarms => {
                let page = match reply {
                    Some(Reply::Alarms(page)) => Some(page),
                    _ => None,
                };
                self.alarms.found(page, Self::now_ms(net));
            }
            Purpose::ShardMap | Purpose::Meet => self.looked(net, purpose, reply),
            Purpose::Count(call) => {
                let membership = match reply {
                    Some(Reply::Membership(membership)) => Ok(membership),
                    _ => Err(FateUnknown),
                };
                if let Ok(membership) = &membership {
                    self.meet(net, membership);
                }
                self.step(net, Event::MembershipObserved(call, membership));
            }
            Purpose::HandOver(_, to) => {
                if let Some(Reply::Shards(moved)) = &reply {
                    self.has_given(moved, to);
                }
                let event = ownership_event(purpose, reply);
                self.step_all(net, event);
            }
            purpose => {
                let event = ownership_event(purpose, reply);
                self.step_all(net, event);
            }
        }
        self.react(net);
    }

    fn step_all(&mut self, net: &mut Network, event: Option<Event>) {
        if let Some(event) = event {
            self.step(net, event);
        }
    }

    /// A gateway hands a request over.
    pub fn request(&mut self, net: &mut Network, request: Request) {
        let has_left = self.sharing.is_some() && self.state.role() == Role::Draining;
        if has_left || (!request.on_link && !self.is_active(net)) {
            return self.send(net, request, Answer::NotRun);
        }
        if request.on_link && self.has_objects && self.sharing.is_none() {
            let key = request.operation.key;
            if self.lines[key].is_none() {
                let call = self.call(net, request.operation.fetch(true));
                self.lines[key] = Some(Line::new(call));
            }
            let is_open = self.lines[key].as_ref().is_some_and(Line::is_open);
            net.woken += u64::from(is_open && self.host.inbox(key).is_none());
            let line = self.lines[key].as_mut();
            line.into_iter().for_each(|line| line.ask(request, net.now));
        } else {
            let call = self.call(net, request.operation.fetch(false));
            self.calls.push((request, call, net.now));
        }
        self.react(net);
    }

    fn call(&mut self, net: &Network, fetch: Fetch) -> Call<Response> {
        let mut fetch = Box::new(fetch);
        loop {
            let inbox = self.server(net).inbox.clone();
            match Call::send(fetch, &inbox) {
                Ok(call) => return call,
                // It sleeps: another one is started.
                Err((_, returned)) => {
                    self.server = None;
                    fetch = returned;
                }
            }
        }
    }

    pub(crate) fn server(&mut self, net: &Network) -> &Running {
        let start = || {
            let parts = Parts {
                identity: Identity::Server,
                storage: Storage::default(),
                sockets: None,
                ledger: None,
                inbox: Arc::new(Inbox::new(10_000, 64 << 20)),
                idle: self.idle,
            };
            let (keys, now) = (self.keys.clone(), self.clock.us(net.now));
            if self.has_objects {
                Running::with_objects(&self.host, parts, keys, now, net.without)
            } else {
                Running::new(&self.host, parts, code::server(keys), now, net.without)
            }
        };
        self.server.get_or_insert_with(start)
    }

    fn send(&self, net: &mut Network, request: Request, answer: Answer) {
        let slot = self.who.slot;
        net.trace(|| format!("pod {slot} answers {request:?}: {answer:?}"));
        let (from, to) = (Node::Pod(slot), Node::Gateway(request.gateway));
        net.send(from, to, Happening::Answers(self.who, request, answer));
    }

    /// Lets everything go on as far as it can, and what may leave leave.
    pub(crate) fn react(&mut self, net: &mut Network) {
        loop {
            self.look(net);
            let mut goes_on = self.submit();
            for key in 0..self.keys.len() {
                goes_on |= self.pump(net, key);
            }
            goes_on |= self.serve(net);
            goes_on |= self.pass(net);
            goes_on |= self.leave(net);
            goes_on |= self.hear_ends(net);
            goes_on |= self.ring(net);
            for lane in 0..LANES {
                let (statement, answered) = self.lanes[lane].next();
                goes_on |= self.sent(net, lane, statement, answered);
            }
            if !goes_on {
                break;
            }
        }
        self.answer(net);
        self.read_map(net);
        self.drained(net);
        let next = self.next_look(net);
        if self.looks_at <= net.now || next < self.looks_at {
            self.looks_at = next;
            net.at(next, Happening::Wakes(self.who, 0));
        }
    }

    /// What instances may do at this moment.
    fn look(&mut self, net: &Network) {
        let killed = if net.is_calm() { 0 } else { net.faults.killed };
        self.host.is_now(net.now / MS, self.is_leased(net), killed);
        let has_changed = self.state.revision() != self.revision;
        if has_changed {
            self.revision = self.state.revision();
            let fences = (0..self.shards).map(|shard| self.state.fence(ShardId(shard)));
            let fences: Vec<_> = fences.collect();
            let gained = fences.iter().zip(&self.fences);
            if gained
                .into_iter()
                .any(|(now, before)| now.is_some() && before.is_none())
            {
                self.alarms.read_again();
            }
            self.host.gives(fences.clone());
            self.fences = fences;
        }
        if has_changed {
            self.host.tell_all();
        }
    }

    /// Lets the server run; whether it did.
    fn serve(&mut self, net: &Network) -> bool {
        let Some(server) = &mut self.server else {
            return false;
        };
        let (ran, end) = server.poll(self.clock.us(net.now));
        if end.is_some() {
            self.server = None;
        }
        ran
    }

    /// Sends the answers that there are.
    fn answer(&mut self, net: &mut Network) {
        for line in 0..self.lines.len() {
            let Some((answers, is_there)) = self.lines[line].as_mut().map(Line::answers) else {
                continue;
            };
            if !is_there {
                self.lines[line] = None;
            }
            for (request, answer) in answers {
                self.send(net, request, answer);
            }
        }
        for (request, mut call, since) in std::mem::take(&mut self.calls) {
            let answer = match call.answer.try_recv() {
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                    self.calls.push((request, call, since));
                    continue;
                }
                Ok(Ok(response)) => match response.body {
                    Body::Full(list) => Answer::List(answered_list(&list)),
                    _ => Answer::List(Vec::new()),
                },
                Ok(Err(_)) | Err(_) => Answer::Failed,
            };
            self.send(net, request, answer);
        }
    }

    /// Since when the one has been waiting that waits for longest.
    pub fn waits_since(&self) -> Option<Time> {
        let calls = self.calls.iter().map(|(_, _, since)| *since);
        let lines = self.lines.iter().flatten().filter_map(Line::waits_since);
        calls.chain(lines).min()
    }

    /// Whether it has ended what it began, or waited long enough.
    fn drained(&mut self, net: &mut Network) {
        if self.has_given_everything_away(net) && self.state.role() == Role::Draining {
            self.step(net, Event::Release);
        }
        let Some(until) = self.drains_until else {
            return;
        };
        let is_idle = self.is_idle() && self.lanes.iter().all(Lane::is_empty);
        if is_idle || net.now >= until {
            self.drains_until = None;
            self.step(net, Event::Release);
        } else {
            net.after(20 * MS, Happening::Wakes(self.who, 0));
        }
    }
}

/// What the machine is told of an answer.
fn ownership_event(purpose: Purpose, reply: Option<Reply>) -> Option<Event> {
    let is = |reply| match reply {
        Some(Reply::Is(is)) => Ok(is),
        _ => Err(FateUnknown),
    };
    let shards = |reply| match reply {
        Some(Reply::Shards(shards)) => Ok(shards),
        _ => Err(FateUnknown),
    };
    let done = |reply: Option<Reply>| reply.map(drop).ok_or(FateUnknown);
    Some(match purpose {
        Purpose::Renew(call) => Event::Renewed(call, is(reply)),
        Purpose::DeclareDead(pod) => Event::DeclaredDead(pod, is(reply)),
        Purpose::Observe(call) => Event::Observed(
            call,
            match reply {
                Some(Reply::Pods(pods)) => Ok(pods),
                _ => Err(FateUnknown),
            },
        ),
        Purpose::Claim(call) => Event::Claimed(call, shards(reply)),
        Purpose::ReadOwned(call) => Event::Owned(call, shards(reply)),
        Purpose::HandOver(call, _) => Event::HandedOver(call, shards(reply)),
        Purpose::Advance(call, fence) => Event::Advanced(
            call,
            fence,
            match reply {
                Some(Reply::Epoch(epoch)) => Ok(epoch),
                _ => Err(FateUnknown),
            },
        ),
        Purpose::ReleaseShards(call) => Event::ShardsReleased(call, done(reply)),
        Purpose::Release => Event::Released(done(reply)),
        _ => return None,
    })
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Those who talk to its objects know the process, and it them.
        self.lines.clear();
        self.host.forget();
    }
}
