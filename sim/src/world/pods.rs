//! Processes of pods: they start, are told what happens, and end.

use portside_core::ids::PodId;
use portside_core::ownership::gateway::{Claim, Incarnation};
use portside_core::ownership::members::{KeyFingerprint, Peer, Revision};
use portside_core::ownership::{Ended, Role, invariants};
use portside_store_model::{Reply, Statement};

use super::World;
use super::scaling::Stage;
use crate::calls::{Purpose, Who};
use crate::checker::{Kind, Wrong};
use crate::links::Said;
use crate::network::{MS, Network, Node};
use crate::pod::Pod;
use crate::request::Answer;
use crate::world::Happening;

impl World {
    pub(super) fn boot(&mut self, slot: usize) {
        self.numbers += 1;
        let machine = &mut self.machines[slot];
        let is_there = machine.pod.is_some() || machine.registering.is_some();
        if is_there || machine.stage != Stage::Wanted {
            return;
        }
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
        self.net.call(
            who,
            Statement::Register {
                pod,
                name: String::new(),
            },
            Purpose::Register,
        );
    }

    /// It has registered itself, or has announced how it is reached.
    pub(super) fn registered(&mut self, who: Who, purpose: Purpose, reply: Option<Reply>) {
        let machine = &mut self.machines[who.slot];
        let Some((_, id, sent)) = machine.registering.filter(|(it, ..)| *it == who) else {
            return;
        };
        if reply.is_none() || reply == Some(Reply::Is(false)) {
            // It exits, and is started again.
            machine.registering = None;
            return self.net.after(50 * MS, Happening::Boots(who.slot));
        }
        if self.net.is_shared && purpose == Purpose::Register {
            let peer = Peer {
                address: who.slot.to_string(),
                revision: Revision(machine.revision),
                protocol: 1,
                key: KeyFingerprint([0; 32]),
            };
            let announce = Statement::Announce { pod: id, peer };
            return self.net.call(who, announce, Purpose::Announce);
        }
        machine.registering = None;
        let clock = machine.clock.clone();
        let keys = self.keys.clone();
        let mut pod = Pod::new(who, id, clock, sent, self.settings, keys, &mut self.net);
        pod.start(&mut self.net);
        machine.pod = Some(pod);
    }

    pub(super) fn at_pod(&mut self, happening: Happening) -> Result<(), Wrong> {
        let (slot, start) = match &happening {
            Happening::Wakes(who, _) | Happening::Disconnected(who, _) => {
                (who.slot, Some(who.start))
            }
            Happening::Asks(slot, _) | Happening::Requests(slot, _) => (*slot, None),
            Happening::Passes(passed) => (passed.slot, None),
            Happening::Replied((who, _), _) => (who.slot, Some(who.start)),
            Happening::Replies(call, _) => match self.net.caller(*call) {
                Some(who) => (who.slot, Some(who.start)),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if let Happening::Replies(call, reply) = happening {
            if let Some((who, purpose)) = self.net.answered(call) {
                if matches!(purpose, Purpose::Register | Purpose::Announce) {
                    self.registered(who, purpose, reply);
                } else if let Some(pod) = self.pod(slot, start) {
                    let (pod, net) = pod;
                    pod.replied(net, purpose, reply);
                }
            }
        } else if let Some((pod, net)) = self.pod(slot, start) {
            match happening {
                Happening::Wakes(_, waking) => pod.woken(net, waking),
                Happening::Requests(_, request) => pod.request(net, request),
                Happening::Disconnected(_, other) => pod.disconnected(net, other),
                Happening::Passes(passed) => pod.asked(net, *passed),
                Happening::Replied((_, number), said) => pod.told(net, number, said),
                Happening::Asks(_, question) => self.says(slot, question),
                _ => {}
            }
        } else if self.net.is_shared {
            self.at_nobody(slot, happening);
        }
        self.check(slot)
    }

    /// A pod tells a gateway what it is.
    pub(super) fn says(&mut self, slot: usize, question: (usize, u64, u64)) {
        let Some((pod, net)) = self.pod(slot, None) else {
            return;
        };
        let claim = pod.claim(net);
        let incarnation = Incarnation {
            id: pod.state.pod(),
            renewals: Some(pod.state.renewals()),
        };
        if claim != Claim::Unknown {
            let (from, to) = (Node::Pod(slot), Node::Gateway(question.0));
            let said = Some((incarnation, claim));
            net.send(from, to, Happening::Says(slot, question, said));
        }
    }

    /// Nobody is there who could take the connection.
    pub(super) fn at_nobody(&mut self, slot: usize, happening: Happening) {
        let (to, back) = match happening {
            Happening::Passes(passed) => {
                let to = Node::Pod(passed.question.0.slot);
                (to, Happening::Replied(passed.question, Said::Unreachable))
            }
            Happening::Requests(_, request) => {
                let who = Who { slot, start: 0 };
                let to = Node::Gateway(request.gateway);
                (to, Happening::Answers(who, request, Answer::NotRun))
            }
            _ => return,
        };
        self.net.send(Node::Pod(slot), to, back);
    }

    pub(super) fn pod(
        &mut self,
        slot: usize,
        start: Option<u64>,
    ) -> Option<(&mut Pod, &mut Network)> {
        let pod = self.machines[slot].pod.as_mut()?;
        let is_it = start.is_none_or(|start| start == pod.who.start);
        is_it.then_some((pod, &mut self.net))
    }

    /// What must hold after each step of a pod; and whether it has ended.
    pub(super) fn check(&mut self, slot: usize) -> Result<(), Wrong> {
        let Some(pod) = &self.machines[slot].pod else {
            return Ok(());
        };
        let holds = Some((pod.who.start, pod.state.revision()));
        if holds != self.machines[slot].compared {
            self.machines[slot].compared = holds;
            let pods = self.machines.iter().filter_map(|it| it.pod.as_ref());
            invariants::one_owner_per_epoch(pods.map(|pod| &pod.state))
                .map_err(|violation| Wrong::new(Kind::TwoOwners, violation))?;
        }
        let Some(pod) = &self.machines[slot].pod else {
            return Ok(());
        };
        if let Some(wrong) = &pod.wrong {
            return Err(wrong.clone());
        }
        self.few_leave(slot)?;
        let is_over = pod.state.role() == Role::Over;
        let is_releasing =
            pod.state.ended() == Some(Ended::Released) && pod.state.released().is_none();
        if is_over && !is_releasing {
            self.crash(slot, 100);
        }
        Ok(())
    }

    /// A process ends, and another is started on its machine.
    pub(super) fn crash(&mut self, slot: usize, within_ms: u64) {
        let machine = &mut self.machines[slot];
        let pod = machine.pod.take();
        let was_there = pod.is_some() || machine.registering.take().is_some();
        if let Some(pod) = pod.filter(|it| it.sharing.is_some()) {
            self.connections_break(slot, pod.state.pod());
        }
        let machine = &mut self.machines[slot];
        if was_there && machine.stage == Stage::Leaving {
            machine.stage = Stage::Absent;
        } else if was_there {
            self.net.trace(|| format!("pod {slot} ends"));
            let delay = self.net.random.within(1, within_ms) * MS;
            self.net.after(delay, Happening::Boots(slot));
        }
    }

    /// A process is gone, and its connections with it.
    pub(super) fn connections_break(&mut self, slot: usize, gone: PodId) {
        let others = self.machines.iter().filter_map(|it| it.pod.as_ref());
        for who in others.map(|it| it.who) {
            let delay = self.net.random.within(200, 2 * MS);
            self.net.after(delay, Happening::Disconnected(who, gone));
        }
        for gateway in 0..self.gateways.len() {
            let delay = self.net.random.within(200, 2 * MS);
            self.net.after(delay, Happening::HangsUp(gateway, slot));
        }
        self.last_end = self.last_end.max(self.net.now);
    }
}
