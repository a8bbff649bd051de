//! What goes wrong.

use portside_core::ownership::Role;

use super::scaling::Stage;
use super::{FAULTY, Machine, World};
use crate::gateway::Gateway;
use crate::network::{MS, Node, Time};
use crate::world::Happening;

impl World {
    pub(super) fn fault(&mut self) {
        if self.net.is_calm() {
            return;
        }
        let longest = self.net.faults.interval_ms;
        let delay = self.net.random.within(50, longest) * MS;
        self.net.after(delay, Happening::Fault);
        let slot = self.some_machine();
        let span = self.net.random.within(50, 1_800) * MS;
        let until = (self.net.now + span).min(FAULTY);
        let kinds = if self.net.faults.wild_clocks { 16 } else { 13 };
        match self.net.random.index(kinds) {
            0..=2 => {
                self.net
                    .trace(|| format!("pod {slot} is paused until {until} us"));
                let stops = self.net.faults.wild_clocks && self.net.random.chance(500);
                self.pause(slot, until, stops);
            }
            3 | 4 => self.crash(slot, 400),
            // What evicts a pod has another one made at once.
            5 if self.net.is_shared => self.end_pod(slot),
            5 => {
                if let Some((pod, net)) = self.pod(slot, None) {
                    pod.drain(net);
                }
            }
            6 => self.store_crashes(),
            7..=9 => self.partition(slot, until),
            10 => self.gateway_restarts(),
            11 | 13 => self.overtaken(),
            _ => self.rare_fault(slot),
        }
    }

    /// One that has a pod, if there is one.
    pub(super) fn some_machine(&mut self) -> usize {
        self.machine_other_than(None).unwrap_or_default()
    }

    fn machine_other_than(&mut self, slot: Option<usize>) -> Option<usize> {
        let machines = self.machines.iter().enumerate();
        let there = machines.filter(|(_, it)| it.stage != Stage::Absent);
        let there = there.map(|(other, _)| other);
        let others: Vec<usize> = there.filter(|other| Some(*other) != slot).collect();
        let index = self.net.random.index(others.len());
        others.get(index).copied()
    }

    fn pause(&mut self, slot: usize, until: Time, stops: bool) {
        let machine = &mut self.machines[slot];
        let since = machine.paused_until.max(self.net.now);
        if stops && until > since {
            // As some clocks do while a virtual machine is suspended.
            machine.clock.stop(until - since);
            if let Some(pod) = &mut machine.pod {
                pod.clock.stop(until - since);
            }
        }
        machine.paused_until = until.max(since);
    }

    fn partition(&mut self, slot: usize, until: Time) {
        let gateway = Node::Gateway(self.net.random.index(self.gateways.len()));
        let pod = Node::Pod(slot);
        let others = if self.net.is_shared { 5 } else { 4 };
        let (a, b) = match self.net.random.index(others) {
            0 => (pod, gateway),
            1 => (gateway, Node::Clients),
            2 => (pod, Node::Store),
            4 => match self.machine_other_than(Some(slot)) {
                Some(other) => (pod, Node::Pod(other)),
                None => return,
            },
            _ => {
                // A machine that is cut off, and whose way to the gateway is back first.
                let sooner = self.net.now + (until - self.net.now) / 3;
                self.net.cut(pod, gateway, sooner);
                (pod, Node::Store)
            }
        };
        self.cut(a, b, until);
    }

    fn cut(&mut self, a: Node, b: Node, until: Time) {
        let until = until.min(FAULTY);
        self.net
            .trace(|| format!("{a:?} and {b:?} are cut off until {until} us"));
        self.net.cut(a, b, until);
    }

    /// The active pod does nothing for so long that another takes over, and does not learn of that at once: its clock stood
    /// still meanwhile and it is cut off from the store, or a gateway cannot reach the others and goes on with it.
    fn overtaken(&mut self) {
        let is_active = |it: &Machine| {
            let pod = it.pod.as_ref();
            pod.is_some_and(|pod| matches!(pod.state.role(), Role::Active { .. }))
        };
        let machines = self.machines.iter().enumerate();
        let active = machines.filter(|(_, it)| is_active(it));
        let active: Vec<usize> = active.map(|(slot, _)| slot).collect();
        if active.is_empty() {
            return;
        }
        let active = active[match active.len() {
            1 => 0,
            several => self.net.random.index(several),
        }];
        let stops = self.net.faults.wild_clocks;
        let until = (self.net.now + self.net.random.within(700, 1_500) * MS).min(FAULTY);
        self.net
            .trace(|| format!("pod {active} is paused until {until} us, and overtaken"));
        self.pause(active, until, stops);
        let cut = until + self.net.random.within(100, 800) * MS;
        self.cut(Node::Pod(active), Node::Store, cut);
        if stops {
            return;
        }
        let gateway = Node::Gateway(self.net.random.index(self.gateways.len()));
        for slot in (0..self.machines.len()).filter(|slot| *slot != active) {
            self.cut(gateway, Node::Pod(slot), cut);
        }
    }

    fn gateway_restarts(&mut self) {
        // A gateway that knows nothing yet believes a clock.
        if self.net.faults.wild_clocks {
            return;
        }
        let number = self.net.random.index(self.gateways.len());
        self.net.trace(|| format!("gateway {number} restarts"));
        let start = self.gateways[number].start + 1;
        let pods = self.told.clone();
        self.gateways[number] = Gateway::new(number, start, pods, self.settings.mechanisms);
        self.net.after(10 * MS, Happening::AskRound(number, start));
    }

    fn rare_fault(&mut self, slot: usize) {
        if self.net.faults.wild_clocks && self.net.random.chance(500) {
            let by = self.net.random.within(1, 2_000) * MS;
            self.net
                .trace(|| format!("the clock of pod {slot} jumps by {by} us"));
            let machine = &mut self.machines[slot];
            machine.clock.jump(by);
            if let Some(pod) = &mut machine.pod {
                pod.clock.jump(by);
            }
        } else if self.may_restore {
            match self.dump.take() {
                None => self.dump = Some(self.database.dump()),
                Some(dump) => {
                    let lists = self.store_goes_back(&dump);
                    self.checker.went_back(lists);
                }
            }
        }
    }
}
