//! Instances of this pod that callers of other pods have reached, by the numbers under which those know them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portside_worker::bond::{Fate, InstanceNumber};

/// It is looked for instances that nobody needs to know of any more when there are so many, and then when there are twice as
/// many as were left.
const MANY: usize = 1024;
/// Of so many instances whose objects have begun anew it is known why, of those that were reached last; of twice as many before it
/// is looked. A stub that has reached an earlier one is not broken.
const MAX_LOST: usize = 4 * 1024;

#[derive(Default)]
pub(crate) struct Instances(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// In the order in which they were reached first.
    fates: BTreeMap<InstanceNumber, Arc<Fate>>,
    /// How many were left when it was looked last.
    left: usize,
    last: u64,
}

impl Instances {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the instance with this fate.
    pub fn number(&self, fate: &Arc<Fate>) -> InstanceNumber {
        let known = &mut *self.lock();
        let number = fate.number(|| {
            known.last += 1;
            InstanceNumber(known.last)
        });
        known.fates.entry(number).or_insert_with(|| fate.clone());
        if known.fates.len() >= MANY.max(2 * known.left) {
            known.forget();
        }
        number
    }

    /// The fate of the instance with this number, if that is known.
    pub fn fate(&self, number: InstanceNumber) -> Option<Arc<Fate>> {
        self.lock().fates.get(&number).cloned()
    }
}

impl Known {
    /// Those that have ended, unless their objects have begun anew: of these the first if they are too many.
    fn forget(&mut self) {
        let is_lost = |fate: &Arc<Fate>| fate.failure().is_some();
        let lost = self.fates.values().filter(|fate| is_lost(fate)).count();
        let mut too_many = lost.saturating_sub(MAX_LOST);
        self.fates.retain(|_, fate| {
            if !is_lost(fate) {
                return Arc::strong_count(fate) > 1;
            }
            let is_kept = too_many == 0;
            too_many = too_many.saturating_sub(1);
            is_kept
        });
        self.left = self.fates.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_have_ended_are_forgotten_and_those_that_live_are_not() {
        let instances = Instances::default();
        let lives = Arc::<Fate>::default();
        let number = instances.number(&lives);
        for _ in 0..10 * MANY {
            instances.number(&Arc::default());
        }
        assert!(instances.lock().fates.len() < MANY);
        assert_eq!(instances.number(&lives), number);
        let fate = instances.fate(number);
        assert!(fate.is_some_and(|it| Arc::ptr_eq(&it, &lives) && it.failure().is_none()));
    }
}
