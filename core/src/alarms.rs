//! Which alarms are to be delivered when: what is stored, as far as is known, and what is being delivered.
//!
//! Alarms due within [`HORIZON_MS`] are kept in memory. They are read from the store in pages, and what this process commits
//! changes them in the order of its commits.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::alarm::{self, Alarm, AlarmChange};
use crate::backoff::Backoff;
use crate::ids::{WorkerId, WorkerKey};

/// Alarms due within this time are in memory; the store is read twice in it. In milliseconds.
pub const HORIZON_MS: i64 = 60_000;
/// Alarms read from the store at a time.
pub const PAGE: usize = 10_000;
/// After a reading failed, the next one waits for this long. In milliseconds.
pub const READ_RETRY_INTERVAL_MS: i64 = 1_000;
/// An alarm for whose worker there was no room is delivered again after this time. In milliseconds.
pub const POSTPONED_MS: i64 = 250;
/// An alarm is delivered again after so long if the store fails at its worker: longer each time in a row, but soon enough
/// for a store that answers again.
pub const STORE_FAILS: Backoff = Backoff {
    first_ms: POSTPONED_MS.unsigned_abs(),
    max_ms: 4_000,
};

/// A change of a worker's alarm that was sent to the store. The numbers grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Who takes a worker's alarms, of those that do so one after the other. An alarm that one of them took fails with it, and
/// with none that came before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver(pub u64);

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Committed,
    /// It was refused.
    Refused,
    /// It failed, and what is stored now only the store can say. To be reported once that is settled.
    Unknown,
}

/// A page of alarms to be read: see `Store::alarms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Where the last page ended.
    pub after: Option<(i64, WorkerId)>,
    /// Due at or before this time, in milliseconds since the Unix epoch.
    pub until: i64,
    /// How many.
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for its time.
    Armed,
    /// To be delivered at this time: before, there was no room for its worker, or the store failed.
    Postponed(i64),
    /// Due, and on its way to its worker or, once that has it, with this receiver, which has not said yet what became of it.
    Delivered(Option<Receiver>),
    /// The delivery failed; how is being stored.
    Failed,
}

/// How far the delivery of a worker's alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// There is none, and as far as is known there will be none soon.
    None,
    /// It is with its worker, or what becomes of it is being stored.
    UnderWay,
    /// This alarm waits for its time.
    Of(Alarm),
}

#[derive(Debug)]
struct Change {
    ticket: Ticket,
    change: AlarmChange,
    fate: Option<Fate>,
}

/// The store fails at a worker: its alarm waits.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// In a row, one at most for each delivery.
    failures: u32,
    until: i64,
}

/// The reading of everything within the horizon, page by page.
#[derive(Debug)]
struct Pass {
    /// When it began, or the next one may begin if it is complete.
    began: i64,
    until: i64,
    after: Option<(i64, WorkerId)>,
    is_complete: bool,
}

/// The alarms of this process's workers that are due soon.
///
/// Guarantees that an alarm that is stored and not being delivered is delivered when it is due, as soon as memory and one
/// page allow, however many others are due or being delivered; and that one that was replaced, or disarmed, before the
/// store was asked is not delivered.
#[derive(Debug)]
pub struct Alarms {
    page: usize,
    known: HashMap<WorkerKey, (Alarm, Phase)>,
    by_time: BTreeSet<(i64, WorkerKey)>,
    waits: HashMap<WorkerKey, Wait>,
    changes: HashMap<WorkerKey, VecDeque<Change>>,
    tickets: u64,
    pass: Option<Pass>,
    is_reading: bool,
    /// Begin from the start: something was gained, or is in doubt.
    again: bool,
    read_after: i64,
    /// Whose alarms changed since the reading under way was sent. What it says of them may be older.
    changed_meanwhile: HashSet<WorkerKey>,
}

impl Default for Alarms {
    fn default() -> Self {
        Self::new(PAGE)
    }
}

impl Alarms {
    /// Nothing is known. `page` alarms are read at a time.
    #[must_use]
    pub fn new(page: usize) -> Self {
        Self {
            page: page.max(1),
            known: HashMap::new(),
            by_time: BTreeSet::new(),
            waits: HashMap::new(),
            changes: HashMap::new(),
            tickets: 0,
            pass: None,
            is_reading: false,
            again: false,
            read_after: i64::MIN,
            changed_meanwhile: HashSet::new(),
        }
    }

    fn arm(&mut self, worker: &WorkerKey, alarm: Alarm) {
        self.forget(worker);
        let wait = self.waits.get(worker).map(|wait| wait.until);
        let (time, phase) = match wait.filter(|until| *until > alarm.due) {
            Some(until) => (until, Phase::Postponed(until)),
            None => (alarm.due, Phase::Armed),
        };
        self.by_time.insert((time, worker.clone()));
        self.known.insert(worker.clone(), (alarm, phase));
    }

    /// The store failed at the worker: until the time that this returns it gets no alarm.
    fn wait(&mut self, worker: &WorkerKey, now: i64) -> i64 {
        let (failures, until) = (0, i64::MIN);
        let new = Wait { failures, until };
        let wait = self.waits.entry(worker.clone()).or_insert(new);
        if wait.until <= now {
            let delay = STORE_FAILS.delay_ms(wait.failures);
            wait.until = now.saturating_add(i64::try_from(delay).unwrap_or(i64::MAX));
            wait.failures += 1;
        }
        wait.until
    }

    fn forget(&mut self, worker: &WorkerKey) {
        if let Some((old, phase)) = self.known.remove(worker) {
            let time = match phase {
                Phase::Postponed(until) => until,
                Phase::Armed | Phase::Delivered(_) | Phase::Failed => old.due,
            };
            self.by_time.remove(&(time, worker.clone()));
        }
    }

    /// A change is sent to the store. Call this in the order in which a worker's changes are; none for no change.
    pub fn submitted(&mut self, worker: &WorkerKey, change: AlarmChange) -> Option<Ticket> {
        if change == AlarmChange::Keep {
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let change = Change {
            ticket,
            change,
            fate: None,
        };
        self.changes
            .entry(worker.clone())
            .or_default()
            .push_back(change);
        Some(ticket)
    }

    /// The fate of a change is known at `now`, in milliseconds since the Unix epoch. Fates may come in any order: changes
    /// take effect in the order in which they were submitted.
    pub fn settled(&mut self, worker: &WorkerKey, ticket: Ticket, fate: Fate, now: i64) {
        let Some(changes) = self.changes.get_mut(worker) else {
            return;
        };
        for change in changes.iter_mut().filter(|it| it.ticket == ticket) {
            change.fate = Some(fate);
        }
        let mut settled = vec![];
        while let Some(fate) = changes.front().and_then(|change| change.fate) {
            settled.extend(changes.pop_front().map(|change| (change.change, fate)));
        }
        if changes.is_empty() {
            self.changes.remove(worker);
        }
        for (change, fate) in settled {
            self.apply(worker, change, fate, now);
        }
    }

    fn apply(&mut self, worker: &WorkerKey, change: AlarmChange, fate: Fate, now: i64) {
        if self.is_reading {
            self.changed_meanwhile.insert(worker.clone());
        }
        match fate {
            Fate::Committed => {
                self.waits.remove(worker);
            }
            Fate::Unknown => {
                self.wait(worker, now);
            }
            Fate::Refused => {}
        }
        let known = self.known.get(worker).copied();
        let is_conditional = matches!(
            change,
            AlarmChange::ClearIf { .. } | AlarmChange::RetryIf { .. }
        );
        if fate != Fate::Committed || (is_conditional && known.is_none()) {
            // What is stored is not known here: it is to be read.
            self.forget(worker);
            self.again = true;
            return;
        }
        let stored = known.map(|(alarm, _)| alarm);
        match alarm::apply(stored, change) {
            // A condition that is not met changes nothing, least of all a delivery under way.
            same if is_conditional && same == stored => {}
            Some(alarm) if alarm.due <= now.saturating_add(HORIZON_MS) => self.arm(worker, alarm),
            // What is due later is read in time.
            Some(_) | None => self.forget(worker),
        }
    }

    /// One that is due at `now`, the earliest. Each is delivered once, until its worker's delivery has an outcome.
    pub fn take_due(&mut self, now: i64) -> Option<(WorkerKey, Alarm)> {
        while self.by_time.first().is_some_and(|(time, _)| *time <= now) {
            let (_, worker) = self.by_time.pop_first()?;
            if let Some((alarm, phase)) = self.known.get_mut(&worker) {
                *phase = Phase::Delivered(None);
                return Some((worker, *alarm));
            }
        }
        None
    }

    /// Takes an alarm that is stored as if it were due, whenever it is. `false` if the worker's alarm is being delivered.
    pub fn take(&mut self, worker: &WorkerKey, alarm: Alarm) -> bool {
        let known = self.known.get(worker);
        if matches!(known, Some((_, Phase::Delivered(_) | Phase::Failed))) {
            return false;
        }
        self.forget(worker);
        let taken = (alarm, Phase::Delivered(None));
        self.known.insert(worker.clone(), taken);
        true
    }

    /// How far the delivery of the worker's alarm is.
    #[must_use]
    pub fn delivery(&self, worker: &WorkerKey) -> Delivery {
        match self.known.get(worker) {
            None => Delivery::None,
            Some((_, Phase::Delivered(_) | Phase::Failed)) => Delivery::UnderWay,
            Some((alarm, Phase::Armed | Phase::Postponed(_))) => Delivery::Of(*alarm),
        }
    }

    /// What [`Alarms::take_due`] or [`Alarms::take`] gave is with this receiver now.
    pub fn delivered(&mut self, worker: &WorkerKey, to: Receiver) {
        if let Some((_, phase @ Phase::Delivered(_))) = self.known.get_mut(worker) {
            *phase = Phase::Delivered(Some(to));
        }
    }

    /// There was no room for the worker at `now`: what [`Alarms::take_due`] gave was not delivered. It is due again soon.
    pub fn postponed(&mut self, worker: &WorkerKey, now: i64) {
        self.postpone(worker, now.saturating_add(POSTPONED_MS));
    }

    fn postpone(&mut self, worker: &WorkerKey, until: i64) {
        if let Some((_, phase)) = self.known.get_mut(worker)
            && matches!(phase, Phase::Delivered(_))
        {
            *phase = Phase::Postponed(until);
            self.by_time.insert((until, worker.clone()));
        }
    }

    /// Whether this receiver has an alarm for the worker to handle.
    fn is_with(&self, worker: &WorkerKey, receiver: Receiver) -> bool {
        let known = self.known.get(worker);
        known.is_some_and(|(_, phase)| *phase == Phase::Delivered(Some(receiver)))
    }

    /// The worker's instance ended at `now`. If this receiver had an alarm for it to handle, that delivery failed, or counts as
    /// `handled`: says how to store that.
    pub fn instance_ended(
        &mut self,
        worker: &WorkerKey,
        receiver: Receiver,
        handled: bool,
        now: i64,
    ) -> Option<AlarmChange> {
        let (alarm, phase) = self.known.get_mut(worker)?;
        if *phase != Phase::Delivered(Some(receiver)) {
            return None;
        }
        *phase = Phase::Failed;
        Some(alarm::after_delivery(*alarm, handled, now))
    }

    /// The worker did not handle this alarm, for it knows of another one. If that was what is known here, it is read anew.
    pub fn not_matched(&mut self, worker: &WorkerKey, alarm: Alarm) {
        if matches!(self.known.get(worker), Some((known, Phase::Delivered(_))) if *known == alarm) {
            self.forget(worker);
        }
    }

    /// The worker's alarm that was [taken](Alarms::take_due) is another process's to deliver.
    pub fn left(&mut self, worker: &WorkerKey) {
        if matches!(self.known.get(worker), Some((_, Phase::Delivered(None)))) {
            self.forget(worker);
        }
    }

    /// This receiver had an alarm for the worker, and could not begin: nobody handles it, and nothing failed. It is read anew,
    /// at once if shards are gained, and when everything is otherwise.
    pub fn turned_away(&mut self, worker: &WorkerKey, receiver: Receiver) {
        if self.is_with(worker, receiver) {
            self.forget(worker);
        }
    }

    /// This receiver had an alarm for the worker, and could not begin at `now` because the store failed: nobody handles it, and
    /// nothing of the worker's failed. It is due again as [`STORE_FAILS`] says.
    pub fn store_failed(&mut self, worker: &WorkerKey, receiver: Receiver, now: i64) {
        if self.is_with(worker, receiver) {
            let until = self.wait(worker, now);
            self.postpone(worker, until);
        }
    }

    /// How the failed delivery is to be stored cannot be stored: what is stored is read anew.
    pub fn retry_failed(&mut self, worker: &WorkerKey) {
        self.forget(worker);
        self.again = true;
    }

    /// There may be alarms that were not read: shards were gained.
    pub fn read_again(&mut self) {
        self.again = true;
    }

    /// How many alarms are late at `now`, for want of a turn, of room or of a store that answers, and for how long the earliest of
    /// them has been due, in milliseconds. Those that are not in memory, of more than a page, are not counted.
    #[must_use]
    pub fn overdue(&self, now: i64) -> (usize, i64) {
        // One that waits longer than it was due is among these: nobody waits for longer than that.
        let horizon = now.saturating_add(STORE_FAILS.max_ms.cast_signed());
        let waiting = self.by_time.iter().take_while(|(time, _)| *time <= horizon);
        let due = waiting.filter_map(|(_, worker)| Some(self.known.get(worker)?.0.due));
        let late = due.filter(|due| *due < now);
        let (count, earliest) = late.fold((0, now), |(count, earliest), due| {
            (count + 1, earliest.min(due))
        });
        (count, now.saturating_sub(earliest))
    }

    /// Workers whose alarms come due after `now` and until `until`, both in milliseconds since the Unix epoch, the earliest first.
    /// Those that are late already are not among them.
    pub fn due_between(&self, now: i64, until: i64) -> impl Iterator<Item = &WorkerKey> {
        let later = self
            .by_time
            .iter()
            .skip_while(move |(time, _)| *time <= now);
        let due = later.take_while(move |(time, _)| *time <= until);
        due.map(|(_, worker)| worker)
    }

    /// When something is to be done: an alarm is due, or a page is to be read.
    #[must_use]
    pub fn next(&self, now: i64) -> i64 {
        let due = self.by_time.first().map(|(time, _)| *time);
        let read = (!self.is_reading).then(|| self.next_read(now)).flatten();
        let idle = now.saturating_add(HORIZON_MS);
        [due, read].into_iter().flatten().min().unwrap_or(idle)
    }

    fn next_read(&self, now: i64) -> Option<i64> {
        let at = match &self.pass {
            None => now,
            Some(_) if self.again => now,
            // A wall clock that was set back must not keep it waiting.
            Some(pass) if pass.is_complete => pass.began.min(now).saturating_add(HORIZON_MS / 2),
            Some(_) if self.by_time.len() < self.page => now,
            // Enough is in memory, all of it due earlier.
            Some(_) => return None,
        };
        Some(
            at.max(
                self.read_after
                    .min(now.saturating_add(READ_RETRY_INTERVAL_MS)),
            ),
        )
    }

    /// The page to read at `now`, if one is due. Its result must be given to [`Alarms::found`].
    pub fn read(&mut self, now: i64) -> Option<Query> {
        if self.is_reading || self.next_read(now).is_none_or(|at| at > now) {
            return None;
        }
        if self.again || self.pass.as_ref().is_none_or(|pass| pass.is_complete) {
            self.again = false;
            self.pass = Some(Pass {
                began: now,
                until: now.saturating_add(HORIZON_MS),
                after: None,
                is_complete: false,
            });
        }
        let pass = self.pass.as_ref()?;
        self.is_reading = true;
        self.changed_meanwhile.clear();
        Some(Query {
            after: pass.after,
            until: pass.until,
            limit: self.page,
        })
    }

    /// The page that was read, or none if reading failed at `now`.
    pub fn found(&mut self, page: Option<Vec<(WorkerKey, Alarm)>>, now: i64) {
        self.is_reading = false;
        let Some(page) = page else {
            self.read_after = now.saturating_add(READ_RETRY_INTERVAL_MS);
            return;
        };
        if let Some(pass) = &mut self.pass {
            pass.is_complete = page.len() < self.page;
            if pass.is_complete {
                // Those that recovered without another alarm, or are another process's.
                self.waits
                    .retain(|_, wait| wait.until.saturating_add(HORIZON_MS) > now);
            }
            pass.after = page.last().map(|(worker, alarm)| (alarm.due, worker.id()));
        }
        for (worker, alarm) in page {
            let is_newer_here =
                self.changes.contains_key(&worker) || self.changed_meanwhile.contains(&worker);
            let is_known = self.known.get(&worker).is_some_and(|(it, _)| *it == alarm);
            if !is_newer_here && !is_known {
                self.arm(&worker, alarm);
            }
        }
        self.changed_meanwhile.clear();
    }
}

#[cfg(test)]
mod tests;
