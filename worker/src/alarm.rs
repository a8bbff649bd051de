//! Which alarm an instance handles at the moment, and what may fire next.

use portside_core::alarm::{self, Alarm, AlarmChange};

/// The deliveries of one instance's alarm.
#[derive(Default)]
pub struct Firing {
    /// The alarm found on wake. It may have been what woke the instance, so it fires even if the module's evaluation
    /// replaces it.
    found: Option<Alarm>,
    /// The alarm whose handler runs.
    now: Option<Alarm>,
    /// The alarm was set or deleted since `now` fired.
    changed: bool,
    /// Came due while another was firing.
    next: Option<Alarm>,
}

/// What happens to an alarm that is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Its handler runs now.
    Fires,
    /// It waits for the one that is firing.
    Waits,
    /// It is not the worker's alarm any more.
    Outdated,
}

impl Firing {
    /// Nothing fires; `found` was stored.
    #[must_use]
    pub fn new(found: Option<Alarm>) -> Self {
        Self {
            found,
            ..Self::default()
        }
    }

    /// `due` is due, and `armed` is what the worker has armed.
    pub fn due(&mut self, due: Alarm, armed: Option<Alarm>) -> Due {
        if self.now.is_some() {
            self.next = Some(due);
            return Due::Waits;
        }
        let found = self.found.take();
        if armed != Some(due) && found != Some(due) {
            return Due::Outdated;
        }
        self.changed = armed != Some(due);
        self.now = Some(due);
        Due::Fires
    }

    /// The handler ended at `now`, in milliseconds since the Unix epoch. Returns how the alarm changes by that, if it does,
    /// and what came due meanwhile.
    pub fn ended(&mut self, succeeded: bool, now: i64) -> (Option<AlarmChange>, Option<Alarm>) {
        let Some(fired) = self.now.take() else {
            return (None, None);
        };
        let change = (!self.changed).then(|| alarm::after_delivery(fired, succeeded, now));
        (change, self.next.take())
    }

    /// The application armed or disarmed it; while the module is `loading`, arming does not replace what woke it.
    pub fn changed(&mut self, armed: Option<Alarm>, loading: bool) {
        self.changed = true;
        if !loading || armed.is_none() {
            self.found = None;
        }
    }

    /// Whether `armed` is an alarm of the future, and not the one that is being delivered.
    #[must_use]
    pub fn is_ahead(&self, armed: Alarm) -> bool {
        self.changed || Some(armed) != self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Alarm = Alarm {
        scheduled: 1,
        retries: 0,
        due: 1,
    };
    const B: Alarm = Alarm {
        scheduled: 2,
        retries: 0,
        due: 2,
    };

    #[test]
    fn one_fires_at_a_time() {
        let mut firing = Firing::default();
        assert_eq!(firing.due(A, Some(A)), Due::Fires);
        firing.changed(Some(B), false);
        assert_eq!(firing.due(B, Some(B)), Due::Waits);
        assert_eq!(firing.ended(true, 5), (None, Some(B)), "B replaced A");
        assert_eq!(firing.due(B, Some(B)), Due::Fires);
        let cleared = AlarmChange::ClearIf { scheduled: 2 };
        assert_eq!(firing.ended(true, 5), (Some(cleared), None));
    }

    #[test]
    fn what_is_not_armed_does_not_fire() {
        let mut firing = Firing::default();
        assert_eq!(firing.due(A, Some(B)), Due::Outdated);
        assert_eq!(firing.due(A, None), Due::Outdated);
    }

    #[test]
    fn what_woke_the_instance_fires_though_its_module_armed_another() {
        let mut firing = Firing::new(Some(A));
        firing.changed(Some(B), true);
        assert_eq!(firing.due(A, Some(B)), Due::Fires);
        assert!(firing.is_ahead(B));
        let mut firing = Firing::new(Some(A));
        firing.changed(None, true);
        assert_eq!(firing.due(A, None), Due::Outdated, "it was deleted");
    }
}
