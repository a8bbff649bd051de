//! Whether a process has room for another instance: by the number of workers that are awake, and by its memory.

/// Workers that are awake at a time in a process of this much memory, where nobody says otherwise: as many as fit if each
/// takes this much. The smallest take less.
const BYTES_PER_WORKER: u64 = 4 << 20;
/// Bounds of that default.
const LEAST_WORKERS: u64 = 16;
const MOST_WORKERS: u64 = 100_000;

/// Isolates that wait for workers whose alarms come due take at most one part in so many of the memory.
const SHARE_OF_EXPECTED: u64 = 4;
/// What each of them takes.
const BYTES_PER_EXPECTED: u64 = 2_300_000;
/// The most of them, however large the memory is.
const MOST_EXPECTED: u64 = 4_096;

/// With less memory left than this a process is short of it, or nearly out of it; and from a little more on it is not any
/// more. What ended instances had comes back a while after them: the marks are apart, so that it does not flutter.
const SHORT: Mark = Mark {
    below: Left(10, 48 << 20),
    until: Left(15, 64 << 20),
};
const NEARLY_OUT: Mark = Mark {
    below: Left(5, 24 << 20),
    until: Left(8, 32 << 20),
};

/// With less left there is no memory for what might be needed.
const TIGHT: Left = Left(25, 96 << 20);

/// Of the workers that are awake, one in this many is put to sleep at a time when memory is short, and at least one.
const SLEEPERS_PER_LOOK: usize = 8;

struct Mark {
    below: Left,
    until: Left,
}

/// Memory that is left: so many percent of the limit, and at least so many bytes, but never more than half of it.
struct Left(u64, u64);

impl Left {
    fn of(&self, limit: u64) -> u64 {
        let Self(percent, bytes) = *self;
        (limit / 100 * percent).max(bytes).min(limit / 2)
    }
}

impl Mark {
    fn is_passed(&self, was: bool, memory: Memory) -> bool {
        let left = if was { &self.until } else { &self.below };
        memory.left() < left.of(memory.limit)
    }
}

/// How much memory a process uses, in bytes, and how much it may use before the system ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Without what the system takes back when it is needed.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

impl Memory {
    /// Whether so little is left that nothing should be made before it is needed.
    #[must_use]
    pub fn is_tight(self) -> bool {
        self.left() < TIGHT.of(self.limit)
    }

    fn left(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// How short of memory a process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Not.
    #[default]
    None,
    /// Idle workers are put to sleep, and a new instance takes the place of one.
    Short,
    /// There are no new instances.
    NearlyOut,
}

impl Pressure {
    /// The pressure after a look at the memory, of which so many instances that are being started will take their part; none
    /// for a process without a limit.
    #[must_use]
    pub fn after(self, memory: Option<Memory>, starting: usize) -> Self {
        let Some(memory) = memory else {
            return Self::None;
        };
        let will_take = BYTES_PER_WORKER.saturating_mul(starting as u64);
        let memory = Memory {
            used: memory.used.saturating_add(will_take),
            ..memory
        };
        if NEARLY_OUT.is_passed(self == Self::NearlyOut, memory) {
            Self::NearlyOut
        } else if SHORT.is_passed(self >= Self::Short, memory) {
            Self::Short
        } else {
            Self::None
        }
    }

    /// How many idle workers are to be put to sleep now, of `awake` workers.
    #[must_use]
    pub fn to_sleep(self, awake: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Short | Self::NearlyOut => awake.div_ceil(SLEEPERS_PER_LOOK),
        }
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// As many workers are awake as may be.
    Workers,
    /// Memory is short.
    Memory,
}

/// Whether there may be another instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Admit,
    /// Once an idle worker was put to sleep; if there is none, this is short.
    Replace(Shortage),
    /// Not now: this is short.
    Refuse(Shortage),
}

/// Whether another instance may start beside `running` ones, of at most `cap`. One always may: a process that can run
/// nothing at all is of no use, whatever fills its memory.
#[must_use]
pub fn admit(running: usize, cap: usize, pressure: Pressure) -> Admission {
    match pressure {
        _ if running == 0 => Admission::Admit,
        Pressure::NearlyOut => Admission::Refuse(Shortage::Memory),
        Pressure::Short => Admission::Replace(Shortage::Memory),
        Pressure::None if running >= cap => Admission::Replace(Shortage::Workers),
        Pressure::None => Admission::Admit,
    }
}

/// How many isolates may wait where workers are about to wake, in a process of this much memory, in bytes, of which it uses so
/// much, if it has a limit; `waiting` ones are in that. They never make memory tight.
#[must_use]
pub fn most_expected(size: u64, memory: Option<Memory>, waiting: usize) -> usize {
    let share = (size / SHARE_OF_EXPECTED / BYTES_PER_EXPECTED).min(MOST_EXPECTED);
    let fit = memory.map_or(u64::MAX, |memory| {
        let left = memory.left().saturating_sub(TIGHT.of(memory.limit));
        left / BYTES_PER_EXPECTED
    });
    let most = share.min(fit.saturating_add(waiting as u64));
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// How many workers may be awake at a time in a process that may use this much memory, in bytes, where nobody says
/// otherwise.
#[must_use]
pub fn default_cap(memory: u64) -> usize {
    let workers = (memory / BYTES_PER_WORKER).clamp(LEAST_WORKERS, MOST_WORKERS);
    usize::try_from(workers).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(percents: &[u64]) -> Vec<Pressure> {
        let mut pressure = Pressure::None;
        let mut all = vec![];
        for used in percents {
            let memory = Memory {
                used: *used << 30,
                limit: 100 << 30,
            };
            pressure = pressure.after(Some(memory), 0);
            all.push(pressure);
        }
        all
    }

    #[test]
    fn memory_is_tight_long_before_it_is_short() {
        let limit = 1_000 << 20;
        let of = |mib: u64| Memory {
            used: mib << 20,
            limit,
        };
        assert!(!of(700).is_tight());
        assert!(of(800).is_tight());
        assert_eq!(Pressure::None.after(Some(of(800)), 0), Pressure::None);
    }

    #[test]
    fn pressure_comes_at_one_mark_and_goes_at_a_lower_one() {
        use Pressure::{NearlyOut, None, Short};
        assert_eq!(
            looks(&[90, 91, 86, 85, 90]),
            [None, Short, Short, None, None]
        );
        assert_eq!(
            looks(&[96, 93, 92, 95, 86, 85]),
            [NearlyOut, NearlyOut, Short, Short, Short, None]
        );
        assert_eq!(looks(&[100, 0]), [NearlyOut, None]);
    }

    #[test]
    fn of_little_memory_more_is_left_and_half_of_it_can_be_used() {
        let after = |used: u64, limit: u64| {
            let memory = Memory {
                used: used << 20,
                limit: limit << 20,
            };
            Pressure::None.after(Some(memory), 0)
        };
        assert_eq!(after(208, 256), Pressure::None);
        assert_eq!(after(209, 256), Pressure::Short);
        assert_eq!(after(233, 256), Pressure::NearlyOut);
        assert_eq!(after(16, 32), Pressure::None);
        assert_eq!(after(17, 32), Pressure::NearlyOut);
    }

    #[test]
    fn instances_that_are_being_started_count() {
        let memory = Memory {
            used: 800 << 20,
            limit: 1_000 << 20,
        };
        assert_eq!(Pressure::None.after(Some(memory), 25), Pressure::None);
        assert_eq!(Pressure::None.after(Some(memory), 26), Pressure::Short);
        assert_eq!(Pressure::None.after(Some(memory), 38), Pressure::NearlyOut);
    }

    #[test]
    fn without_a_limit_there_is_no_pressure() {
        assert_eq!(Pressure::NearlyOut.after(None, 9), Pressure::None);
    }

    #[test]
    fn the_largest_sizes_do_not_overflow() {
        let memory = Memory {
            used: u64::MAX,
            limit: u64::MAX,
        };
        assert_eq!(
            Pressure::None.after(Some(memory), usize::MAX),
            Pressure::NearlyOut
        );
    }

    #[test]
    fn idle_workers_make_room_before_anybody_is_refused() {
        let cap = 3;
        let none = Pressure::None;
        assert_eq!(admit(2, cap, none), Admission::Admit);
        assert_eq!(admit(3, cap, none), Admission::Replace(Shortage::Workers));
        assert_eq!(
            admit(1, cap, Pressure::Short),
            Admission::Replace(Shortage::Memory)
        );
        assert_eq!(
            admit(1, cap, Pressure::NearlyOut),
            Admission::Refuse(Shortage::Memory)
        );
    }

    #[test]
    fn the_first_is_always_admitted() {
        for pressure in [Pressure::None, Pressure::Short, Pressure::NearlyOut] {
            assert_eq!(admit(0, 0, pressure), Admission::Admit);
        }
    }

    #[test]
    fn some_sleep_at_each_look_while_memory_is_short() {
        assert_eq!(Pressure::None.to_sleep(100), 0);
        assert_eq!(Pressure::Short.to_sleep(0), 0);
        assert_eq!(Pressure::Short.to_sleep(1), 1);
        assert_eq!(Pressure::NearlyOut.to_sleep(100), 13);
    }

    #[test]
    fn more_is_prepared_where_there_is_more_memory_until_that_is_tight() {
        assert_eq!(most_expected(0, None, 0), 0);
        assert_eq!(most_expected(1 << 30, None, 0), 116);
        assert_eq!(most_expected(u64::MAX, None, 0), 4_096);
        let limit = 1 << 30;
        let used = |used| Some(Memory { used, limit });
        assert_eq!(most_expected(limit, used(limit / 4), 0), 116);
        assert_eq!(
            most_expected(limit, used(limit / 4 * 3 - (23 << 20)), 0),
            10
        );
        assert_eq!(most_expected(limit, used(limit / 4 * 3), 0), 0);
        assert_eq!(most_expected(limit, used(limit), 7), 7);
        assert_eq!(most_expected(limit, used(0), 999), 116);
    }

    #[test]
    fn the_default_grows_with_the_memory() {
        assert_eq!(default_cap(0), 16);
        assert_eq!(default_cap(1 << 30), 256);
        assert_eq!(default_cap(u64::MAX), 100_000);
    }
}
