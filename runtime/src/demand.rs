//! How many isolates of a script shall wait ready on a thread.

/// The most that wait for one script on one thread.
const MOST: usize = 8;

/// What the starts of one script's instances on one thread say about those that come.
///
/// One more waits after each start that found none, but for the first: instances that start less than once in a period are
/// not prepared for. What a whole period did not use is given up.
#[derive(Debug, Default)]
pub struct Demand {
    wanted: usize,
    /// The fewest that were ready in this period.
    least_ready: usize,
    /// Starts of this period, and of the one before: whether there were any, and any that found none.
    now: Starts,
    before: Starts,
}

#[derive(Debug, Default, Clone, Copy)]
struct Starts {
    any: bool,
    missed: bool,
}

impl Demand {
    /// How many shall wait ready.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// A start has taken one, and left so many.
    pub fn taken(&mut self, left: usize) {
        self.now.any = true;
        self.least_ready = self.least_ready.min(left);
    }

    /// A start has found none.
    pub fn missed(&mut self) {
        if self.now.missed || self.before.missed || self.wanted > 0 {
            self.wanted = (self.wanted + 1).min(MOST);
        }
        let (any, missed) = (true, true);
        self.now = Starts { any, missed };
        self.least_ready = 0;
    }

    /// A period ends with so many ready; returns how many of them are to be given up.
    pub fn end_period(&mut self, ready: usize) -> usize {
        let unused = self.least_ready.min(ready);
        // Those beyond what is wanted here were made for others.
        let beyond = ready.saturating_sub(self.wanted);
        self.wanted -= unused.saturating_sub(beyond);
        self.least_ready = ready - unused;
        if !self.now.any {
            // Nor are those needed that were not made yet.
            self.wanted = self.wanted.min(self.least_ready);
        }
        self.before = std::mem::take(&mut self.now);
        unused
    }

    /// Whether nothing is known that would matter.
    pub fn is_over(&self) -> bool {
        self.wanted == 0 && !self.now.any && !self.before.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_misses(count: usize) -> Demand {
        let mut demand = Demand::default();
        (0..count).for_each(|_| demand.missed());
        demand
    }

    #[test]
    fn one_start_is_not_prepared_for_but_a_second_is() {
        let mut demand = Demand::default();
        demand.missed();
        assert_eq!(demand.wanted(), 0);
        demand.end_period(0);
        assert!(!demand.is_over());
        demand.missed();
        assert_eq!(demand.wanted(), 1);

        let mut seldom = Demand::default();
        for _ in 0..3 {
            seldom.missed();
            seldom.end_period(0);
            seldom.end_period(0);
            assert!(seldom.is_over());
        }
    }

    #[test]
    fn more_wait_the_more_starts_find_none() {
        let demand = after_misses(100);
        assert_eq!(demand.wanted(), MOST);
    }

    #[test]
    fn what_is_not_used_in_a_period_is_given_up() {
        let mut demand = after_misses(5);
        assert_eq!(demand.wanted(), 4);
        assert_eq!(demand.end_period(4), 0, "they have only been made");
        demand.taken(3);
        demand.taken(2);
        assert_eq!(demand.end_period(4), 2);
        assert_eq!(demand.wanted(), 2);
        assert_eq!(demand.end_period(2), 2);
        assert!(demand.is_over());
    }

    #[test]
    fn a_period_may_end_before_they_are_made() {
        let mut demand = after_misses(3);
        assert_eq!(demand.end_period(1), 0);
        assert_eq!(demand.wanted(), 2);
        demand.taken(0);
        assert_eq!(demand.end_period(0), 0);
        assert_eq!(demand.wanted(), 2, "those that shall come are not unused");
    }

    #[test]
    fn what_was_made_for_others_changes_nothing() {
        let mut demand = after_misses(4);
        assert_eq!(demand.end_period(103), 0, "they have only been made");
        demand.taken(102);
        assert_eq!(demand.end_period(102), 102);
        assert_eq!(demand.wanted(), 0, "nor were those used that are wanted");

        let mut demand = after_misses(4);
        demand.end_period(103);
        demand.taken(100);
        assert_eq!(demand.end_period(103), 100);
        assert_eq!(demand.wanted(), 3);
    }

    #[test]
    fn it_is_over_even_if_those_that_are_wanted_are_never_made() {
        let mut demand = after_misses(3);
        assert_eq!(demand.wanted(), 2);
        demand.end_period(0);
        demand.end_period(0);
        assert!(demand.is_over());
    }
}
