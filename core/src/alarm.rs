//! A worker's one alarm: how it changes, and what its deliveries do to it.

use crate::backoff::Backoff;

/// An armed alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// When it was set to fire, in milliseconds since the Unix epoch. Identifies the arming.
    pub scheduled: i64,
    /// Failed deliveries so far.
    pub retries: u32,
    /// When to deliver it next: `scheduled`, or later after failures.
    pub due: i64,
}

impl Alarm {
    /// A newly armed alarm.
    #[must_use]
    pub fn at(scheduled: i64) -> Self {
        Self {
            scheduled,
            retries: 0,
            due: scheduled,
        }
    }
}

/// What a commit does to the stored alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlarmChange {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Arms it anew (`setAlarm`), replacing any other.
    Set(Alarm),
    /// Disarms it (`deleteAlarm`).
    Clear,
    /// Disarms it if it is still the arming that was delivered: a re-arm during the handler survives.
    ClearIf {
        /// The [`Alarm::scheduled`] that was delivered.
        scheduled: i64,
    },
    /// Puts the next delivery off if it is still the arming that was delivered.
    RetryIf {
        /// The alarm as it should be stored, its `scheduled` unchanged.
        next: Alarm,
    },
}

/// Retries after a handler threw: 2 s, doubling, six of them. Cloudflare's numbers.
pub const RETRY: Backoff = Backoff {
    first_ms: 2_000,
    max_ms: 64_000,
};

/// After this many failed retries an alarm is given up.
pub const MAX_RETRIES: u32 = 6;

/// What follows a delivery of `alarm` whose handler ended at `now` (milliseconds since the Unix epoch).
///
/// A success, or the failure of the last retry, disarms it; an earlier failure puts it off.
#[must_use]
pub fn after_delivery(alarm: Alarm, succeeded: bool, now: i64) -> AlarmChange {
    if succeeded || alarm.retries >= MAX_RETRIES {
        return AlarmChange::ClearIf {
            scheduled: alarm.scheduled,
        };
    }
    let delay = i64::try_from(RETRY.delay_ms(alarm.retries)).unwrap_or(i64::MAX);
    AlarmChange::RetryIf {
        next: Alarm {
            retries: alarm.retries + 1,
            due: now.saturating_add(delay),
            ..alarm
        },
    }
}

/// The stored alarm after a commit.
#[must_use]
pub fn apply(stored: Option<Alarm>, change: AlarmChange) -> Option<Alarm> {
    match change {
        AlarmChange::Keep => stored,
        AlarmChange::Set(alarm) => Some(alarm),
        AlarmChange::Clear => None,
        AlarmChange::ClearIf { scheduled } => stored.filter(|alarm| alarm.scheduled != scheduled),
        AlarmChange::RetryIf { next } => stored.map(|alarm| {
            if alarm.scheduled == next.scheduled {
                next
            } else {
                alarm
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rearm_during_the_handler_survives() {
        let fired = Alarm::at(10);
        let rearmed = apply(Some(fired), AlarmChange::Set(Alarm::at(20)));
        assert_eq!(
            apply(rearmed, after_delivery(fired, true, 11)),
            Some(Alarm::at(20))
        );
        assert_eq!(
            apply(rearmed, after_delivery(fired, false, 11)),
            Some(Alarm::at(20))
        );
    }

    #[test]
    fn failures_are_put_off_and_then_given_up() {
        let mut alarm = Alarm::at(0);
        let mut delays = vec![];
        while let Some(next) = apply(Some(alarm), after_delivery(alarm, false, 0)) {
            delays.push(next.due);
            alarm = next;
        }
        assert_eq!(delays, [2_000, 4_000, 8_000, 16_000, 32_000, 64_000]);
    }
}
