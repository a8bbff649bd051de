//! What callers keep of an object's instance that they have reached: once the object has begun anew, they have lost it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use portside_core::ownership::members::KeyFingerprint;

use crate::link::Failure;

/// The most bytes that are kept, for as long as somebody may ask, of the message with which an object began anew, and of what was
/// thrown. Whoever waits for the object hears all of it.
const MAX_KEPT_BYTES: usize = 4 * 1024;

/// An instance, as the process that has it tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceNumber(pub u64);

/// How an instance ended: only if its object began anew, and then why.
#[derive(Debug, Default)]
pub struct Fate {
    failure: OnceLock<Failure>,
    number: OnceLock<InstanceNumber>,
}

impl Fate {
    /// The object begins anew for this reason. The first one stays.
    pub(crate) fn seal(&self, failure: &Failure) {
        self.failure.get_or_init(|| {
            let end = failure.message.floor_char_boundary(MAX_KEPT_BYTES);
            let thrown = failure.thrown.clone();
            Failure {
                message: failure.message[..end].to_owned(),
                thrown: thrown.filter(|thrown| thrown.len() <= MAX_KEPT_BYTES),
                ..*failure
            }
        });
    }

    /// Why the object has begun anew, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// What other processes know the instance by: the number that it gets when this is first called.
    pub fn number(&self, next: impl FnOnce() -> InstanceNumber) -> InstanceNumber {
        *self.number.get_or_init(next)
    }
}

/// An instance in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// The process, by the key of its links: each start has its own.
    pub process: KeyFingerprint,
    /// The instance.
    pub number: InstanceNumber,
}

/// What a caller has from call to call of an object: the instance that it has reached last. Once that object has begun anew
/// under it, the caller has lost it for good.
#[derive(Debug, Clone, Default)]
pub struct Bond(Arc<Mutex<Reached>>);

#[derive(Debug, Default)]
struct Reached {
    /// Nothing before somebody was reached.
    fate: Option<Arc<Fate>>,
    elsewhere: Option<Elsewhere>,
}

impl Reached {
    fn failure(&self) -> Option<&Failure> {
        self.fate.as_ref()?.failure()
    }
}

impl Bond {
    /// What a caller has that has reached the instance with this fate.
    #[must_use]
    pub fn to(fate: &Arc<Fate>) -> Self {
        let bond = Self::default();
        bond.bind(fate);
        bond
    }

    fn lock(&self) -> MutexGuard<'_, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, fate: &Arc<Fate>, elsewhere: Option<Elsewhere>) {
        let mut reached = self.lock();
        if reached.failure().is_none() {
            let fate = Some(fate.clone());
            *reached = Reached { fate, elsewhere };
        }
    }

    /// The caller has reached the instance with this fate.
    pub(crate) fn bind(&self, fate: &Arc<Fate>) {
        self.reach(fate, None);
    }

    /// The caller has reached an instance of another process. Whoever says so tells, too, when it is [lost](Bond::lose).
    pub fn bind_elsewhere(&self, elsewhere: Elsewhere) {
        self.reach(&Arc::default(), Some(elsewhere));
    }

    /// The instance that the caller has reached is lost, for this reason; for whoever knows of it from elsewhere.
    pub fn lose(&self, failure: &Failure) {
        let fate = Arc::<Fate>::default();
        fate.seal(failure);
        self.reach(&fate, None);
    }

    /// Why the instance that the caller has reached is lost, if it is.
    #[must_use]
    pub fn broken(&self) -> Option<Failure> {
        self.lock().failure().cloned()
    }

    /// The instance that the caller has reached, if one of this process.
    #[must_use]
    pub fn fate(&self) -> Option<Arc<Fate>> {
        let reached = self.lock();
        reached.fate.clone().filter(|_| reached.elsewhere.is_none())
    }

    /// The instance that the caller has reached, if one of another process.
    #[must_use]
    pub fn elsewhere(&self) -> Option<Elsewhere> {
        self.lock().elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_loses_the_instance_that_it_has_reached_for_good() {
        let bond = Bond::default();
        let (slept, reset, next) = (Arc::default(), Arc::new(Fate::default()), Arc::default());
        bond.bind(&slept);
        assert_eq!(bond.broken(), None);
        bond.bind(&reset); // the one before has ended in order
        reset.seal(&Failure::reset("first"));
        reset.seal(&Failure::reset("second"));
        assert_eq!(bond.broken(), Some(Failure::reset("first")));
        bond.bind(&next);
        assert_eq!(bond.broken(), Some(Failure::reset("first")));
        assert_eq!(Bond::default().broken(), None, "who has reached nobody yet");
    }

    #[test]
    fn an_instance_of_another_process_is_lost_by_those_only_who_have_heard_so() {
        let here = Arc::<Fate>::default();
        let elsewhere = Elsewhere {
            process: KeyFingerprint([7; 32]),
            number: InstanceNumber(3),
        };
        let (one, other) = (Bond::default(), Bond::default());
        for bond in [&one, &other] {
            bond.bind(&here);
            assert!(bond.fate().is_some_and(|fate| Arc::ptr_eq(&fate, &here)));
        }
        one.bind_elsewhere(elsewhere);
        assert_eq!(
            (one.elsewhere(), other.elsewhere()),
            (Some(elsewhere), None)
        );
        assert!(one.fate().is_none());
        one.lose(&Failure::reset("first"));
        one.bind_elsewhere(elsewhere);
        assert_eq!(one.broken(), Some(Failure::reset("first")));
        assert_eq!(other.broken(), None);
    }

    #[test]
    fn a_caller_who_is_answered_by_the_next_instance_has_lost_the_one_before() {
        let (reset, next) = (Arc::<Fate>::default(), Arc::default());
        let bond = Bond::to(&reset);
        reset.seal(&Failure::reset("first"));
        bond.bind(&next);
        assert_eq!(bond.broken(), Some(Failure::reset("first")));
        assert!(bond.fate().is_some_and(|fate| Arc::ptr_eq(&fate, &reset)));
    }

    #[test]
    fn little_is_kept_of_why_an_object_began_anew() {
        let fate = Fate::default();
        let failure = Failure {
            thrown: Some(vec![7; 1 << 20].into()),
            ..Failure::reset("é".repeat(1 << 20))
        };
        fate.seal(&failure);
        let kept = fate.failure().expect("it is sealed");
        assert_eq!(kept.code, failure.code);
        assert!(kept.message.len() <= MAX_KEPT_BYTES && kept.thrown.is_none());
    }

    #[test]
    fn a_number_stays() {
        let fate = Fate::default();
        assert_eq!(fate.number(|| InstanceNumber(1)), InstanceNumber(1));
        assert_eq!(fate.number(|| InstanceNumber(2)), InstanceNumber(1));
    }
}
