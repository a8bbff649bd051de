//! Shards that are brought to rest, so that another pod can have them; and what a pod that drains waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use portside_core::ids::{Epoch, PodId, ShardId};
use portside_core::ownership::members::Membership;
use portside_core::ownership::{Call, Event};
use portside_store_model::{Reply, Statement};
use portside_worker::event::Stop;
use portside_worker::host::Fabric;
use portside_worker::inbox::Inbox;
use portside_worker::link::Failure;
use portside_worker::moves::take_along;

use crate::calls::Purpose;
use crate::map::Map;
use crate::mechanism::Mechanism;
use crate::network::{MS, Network, Time};
use crate::passing::Passing;
use crate::pod::Pod;

/// How long workers' handlers may go on before they move, and how long until what was cut off is gone. Else its shard stays.
const SETTLE: Time = 1_000 * MS;
const FLUSH: Time = 2_000 * MS;

/// How long requests may take to be answered once the pod drains, and shards to be handed over.
const ANSWER: Time = 2_000 * MS;
const HAND_OVER: Time = 6_000 * MS;

/// What a pod has that shares the shards with others.
pub(crate) struct Sharing {
    pub map: Map,
    pub passing: Passing,
    quiescing: Vec<Quiescing>,
    /// By shard: whether it is brought to rest, or handed over.
    leaving: Vec<bool>,
    /// Since when it drains.
    drains: Option<Time>,
}

/// Shards that are brought to rest.
struct Quiescing {
    call: Call,
    busy: BTreeSet<ShardId>,
    /// How the workers are asked to stop now.
    stop: Stop,
    /// Until when.
    until: Time,
}

impl Sharing {
    pub fn new(me: PodId, shards: u32, passing: Passing) -> Self {
        Self {
            map: Map::new(me, shards),
            passing,
            quiescing: Vec::new(),
            leaving: vec![false; shards as usize],
            drains: None,
        }
    }

    /// Whether nobody is to be woken in this shard, for it is on its way to another pod.
    pub fn is_leaving(&self, shard: ShardId) -> bool {
        self.leaving[shard.0 as usize]
    }

    /// When something is to be done though nothing happens.
    pub fn next(&self, now: Time) -> Option<Time> {
        let quiescing = self.quiescing.iter().map(|it| it.until);
        let drains = self
            .drains
            .iter()
            .flat_map(|at| [at + ANSWER, at + HAND_OVER]);
        let others = [self.map.next(now), self.passing.next()];
        let all = quiescing.chain(drains).chain(others.into_iter().flatten());
        all.filter(|at| *at > now).min()
    }
}

impl Pod {
    /// Who is alive and owns how much.
    pub(crate) fn meet(&mut self, net: &mut Network, membership: &Membership) {
        if let Some(sharing) = &mut self.sharing {
            sharing.map.meet(membership);
        }
        self.lose_strangers(net);
    }

    /// Shards have moved from here to another pod.
    pub(crate) fn has_given(&mut self, moved: &[(ShardId, Epoch)], to: PodId) {
        if let Some(sharing) = &mut self.sharing {
            let moved = moved.iter();
            sharing
                .map
                .learn(moved.map(|(shard, epoch)| (*shard, Some(to), *epoch)));
        }
    }

    /// Reads the shard map, or who is there, if there is a reason to.
    pub(crate) fn read_map(&mut self, net: &mut Network) {
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        if let Some(since) = sharing.map.read(net.now) {
            net.call(self.who, Statement::ShardMap { since }, Purpose::ShardMap);
        }
        if sharing.map.meets(net.now) {
            net.call(self.who, Statement::Members, Purpose::Meet);
        }
    }

    /// What was read of the others.
    pub(crate) fn looked(&mut self, net: &mut Network, purpose: Purpose, reply: Option<Reply>) {
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        match (purpose, reply) {
            (Purpose::ShardMap, Some(Reply::Changes(changes))) => {
                sharing.map.has_read(Some(changes), net.now);
            }
            (Purpose::ShardMap, _) => sharing.map.has_read(None, net.now),
            (_, reply) => {
                sharing.map.has_met(net.now);
                if let Some(Reply::Membership(membership)) = reply {
                    self.meet(net, &membership);
                }
            }
        }
    }

    /// Brings up to so many shards to rest, or only this one.
    pub(crate) fn quiesce(
        &mut self,
        net: &mut Network,
        call: Call,
        (count, only): (u32, Option<ShardId>),
    ) {
        let Some(sharing) = &self.sharing else { return };
        let staying = (0..self.shards).map(ShardId).filter(|shard| {
            self.state.fence(*shard).is_some()
                && !sharing.is_leaving(*shard)
                && only.is_none_or(|only| only == *shard)
        });
        let shards = self.sample(staying.collect(), count as usize);
        if net.is_without(Mechanism::Quiescence) {
            self.step(net, Event::Quiesced(call, shards));
            return self.step(net, Event::QuiescenceOver(call));
        }
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        for shard in &shards {
            sharing.leaving[shard.0 as usize] = true;
        }
        let quiescing = Quiescing {
            call,
            busy: shards.into_iter().collect(),
            stop: Stop::WhenSettled,
            until: net.now + SETTLE,
        };
        sharing.quiescing.push(quiescing);
        self.ask_to_leave();
    }

    /// Up to so many of these shards, busy ones and idle ones alike.
    fn sample(&self, mut shards: Vec<ShardId>, count: usize) -> Vec<ShardId> {
        shards.sort_by_key(|shard| (!self.is_at_rest(*shard), shard.0));
        let (all, count) = (shards.len(), count.min(shards.len()));
        let middle = |stretch: usize| shards[(2 * stretch + 1) * all / (2 * count)];
        (0..count).map(middle).collect()
    }

    /// Whether nothing of a shard is awake, or on its way to the store.
    fn is_at_rest(&self, shard: ShardId) -> bool {
        let mut workers = self.workers.iter().enumerate();
        workers.all(|(key, worker)| {
            let is_gone = worker.is_gone() && self.host.inbox(key).is_none();
            is_gone || self.shard(key) != shard
        })
    }

    /// Has the workers leave for another pod.
    fn ask_to_leave(&self) {
        let Some(sharing) = &self.sharing else { return };
        for quiescing in &sharing.quiescing {
            for key in 0..self.keys.len() {
                let is_asked = quiescing.busy.contains(&self.shard(key));
                if let Some(inbox) = self.host.inbox(key).filter(|_| is_asked) {
                    inbox.leave();
                    inbox.stop(quiescing.stop);
                }
            }
        }
    }

    /// Says which shards are at rest, and which of those that were to leave stay; whether there were any.
    pub(crate) fn leave(&mut self, net: &mut Network) -> bool {
        let Some(sharing) = &mut self.sharing else {
            return false;
        };
        let mut quiescing = std::mem::take(&mut sharing.quiescing);
        let (mut has_left, mut asks) = (false, false);
        quiescing.retain_mut(|it| {
            let at_rest = it.busy.iter().filter(|shard| self.is_at_rest(**shard));
            let at_rest: Vec<ShardId> = at_rest.copied().collect();
            it.busy.retain(|shard| !at_rest.contains(shard));
            if !at_rest.is_empty() {
                has_left = true;
                self.step(net, Event::Quiesced(it.call, at_rest));
            }
            let is_late = net.now >= it.until;
            let is_over = it.busy.is_empty() || (is_late && it.stop == Stop::WhenFlushed);
            if is_over {
                has_left = true;
                self.step(net, Event::QuiescenceOver(it.call));
            } else if is_late {
                (it.stop, it.until) = (Stop::WhenFlushed, net.now + FLUSH);
                asks = true;
            }
            !is_over
        });
        if let Some(sharing) = &mut self.sharing {
            quiescing.append(&mut sharing.quiescing);
            sharing.quiescing = quiescing;
        }
        if asks {
            self.ask_to_leave();
        }
        self.stay(net) || has_left
    }

    /// Shards that are not on their way any more may be used, as soon as it is known whose they are; whether there were any.
    fn stay(&mut self, net: &Network) -> bool {
        let Some(sharing) = &mut self.sharing else {
            return false;
        };
        let mut stays = false;
        for (shard, leaves) in (0..).map(ShardId).zip(&mut sharing.leaving) {
            let is_brought_to_rest = |it: &Quiescing| it.busy.contains(&shard);
            let is_known = !self.state.is_in_doubt(shard);
            let is_over = (is_known || net.is_without(Mechanism::TakeFencesBack))
                && !sharing.quiescing.iter().any(is_brought_to_rest);
            if *leaves && is_over {
                *leaves = false;
                stays = true;
            }
        }
        if stays {
            self.alarms.read_again();
        }
        stays
    }

    /// Takes what waits for a worker that has left, and has no instance any more, to where it is then.
    pub(crate) fn hand_on(&mut self, net: &Network, key: usize, inbox: &Inbox) {
        let Some(sharing) = &self.sharing else { return };
        let links: Arc<_> = sharing.passing.links.clone();
        if net.is_without(Mechanism::TakeAlong) {
            inbox.refuse_all(&Failure::unavailable("the worker has left"));
        }
        for unheard in take_along(inbox) {
            let opener = unheard.opening.end.peer();
            let Some(target) = links.open(&self.keys[key], unheard.opening) else {
                continue;
            };
            if let Some(opener) = opener {
                opener.reopened(target.clone());
            }
            for incoming in unheard.after {
                // Who is gone needs no telling.
                let _ = target.receive(incoming);
            }
        }
        self.host.forget_inbox(key);
    }

    /// It takes no new work from now on, and gives away what it has.
    pub(crate) fn gives_everything_away(&mut self, net: &Network) -> bool {
        let Some(sharing) = &mut self.sharing else {
            return false;
        };
        sharing.drains = Some(net.now);
        true
    }

    /// Whether it has given everything away, or has waited for long enough; if it drains, and shares the shards.
    pub(crate) fn has_given_everything_away(&self, net: &Network) -> bool {
        let Some(sharing) = &self.sharing else {
            return false;
        };
        let Some(since) = sharing.drains else {
            return false;
        };
        let has_moved = self.state.has_handed_over() && !net.is_without(Mechanism::EndOnceGiven);
        let is_answered = self.waits_since().is_none() || net.now >= since + ANSWER;
        let is_late = net.now >= since + HAND_OVER;
        is_answered && (is_late || (has_moved && sharing.passing.is_quiet()))
    }
}
