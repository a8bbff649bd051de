//! Mechanisms that a test can take away, to see that the tests notice.

/// Which of the mechanisms work that keep shards safe and owned. All do; only tests, or the feature `mutants`, can switch one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms {
    settle_before_load: bool,
    gateway_filter: bool,
    lease: bool,
    take_fences_back: bool,
    settle_hand_overs: bool,
    correct_counts: bool,
    look_before_end: bool,
    declare_dead: bool,
    rebalance: bool,
}

impl Default for Mechanisms {
    fn default() -> Self {
        Self {
            settle_before_load: true,
            gateway_filter: true,
            lease: true,
            take_fences_back: true,
            settle_hand_overs: true,
            correct_counts: true,
            look_before_end: true,
            declare_dead: true,
            rebalance: true,
        }
    }
}

impl Mechanisms {
    /// After a commit of unknown fate, a shard is moved to a new epoch before anything of it is loaded.
    #[must_use]
    pub fn settles_before_load(self) -> bool {
        self.settle_before_load
    }

    /// The gateway believes no lower term after a higher one.
    #[must_use]
    pub fn filters_terms(self) -> bool {
        self.gateway_filter
    }

    /// A pod's lease ends by its own clock, unless it is renewed.
    #[must_use]
    pub fn ends_leases(self) -> bool {
        self.lease
    }

    /// No fence of a shard is given while it is handed over.
    #[must_use]
    pub fn takes_fences_back(self) -> bool {
        self.take_fences_back
    }

    /// After a hand-over of unknown fate, the shard is moved to a new epoch before anything of it is loaded.
    #[must_use]
    pub fn settles_hand_overs(self) -> bool {
        self.settle_hand_overs
    }

    /// A pod counts its own shards, and those that it is giving away, as it knows them, not as it has read them.
    #[must_use]
    pub fn corrects_counts(self) -> bool {
        self.correct_counts
    }

    /// A pod that drains looks anew who wants shards, and what it was given, before it ends.
    #[must_use]
    pub fn looks_before_end(self) -> bool {
        self.look_before_end
    }

    /// Pods whose leases are not renewed are declared dead, which frees their shards.
    #[must_use]
    pub fn declares_dead(self) -> bool {
        self.declare_dead
    }

    /// A pod that serves gives away what is beyond its share, not only one that drains.
    #[must_use]
    pub fn rebalances(self) -> bool {
        self.rebalance
    }

    /// Without [`Mechanisms::settles_before_load`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_settling(self) -> Self {
        Self {
            settle_before_load: false,
            ..self
        }
    }

    /// Without [`Mechanisms::filters_terms`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_gateway_filter(self) -> Self {
        Self {
            gateway_filter: false,
            ..self
        }
    }

    /// Without [`Mechanisms::ends_leases`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_lease(self) -> Self {
        Self {
            lease: false,
            ..self
        }
    }

    /// Without [`Mechanisms::takes_fences_back`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_taking_fences_back(self) -> Self {
        Self {
            take_fences_back: false,
            ..self
        }
    }

    /// Without [`Mechanisms::settles_hand_overs`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_settling_hand_overs(self) -> Self {
        Self {
            settle_hand_overs: false,
            ..self
        }
    }

    /// Without [`Mechanisms::corrects_counts`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_correcting_counts(self) -> Self {
        Self {
            correct_counts: false,
            ..self
        }
    }

    /// Without [`Mechanisms::looks_before_end`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_looking_before_end(self) -> Self {
        Self {
            look_before_end: false,
            ..self
        }
    }

    /// Without [`Mechanisms::declares_dead`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_declaring_dead(self) -> Self {
        Self {
            declare_dead: false,
            ..self
        }
    }

    /// Without [`Mechanisms::rebalances`].
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn without_rebalancing(self) -> Self {
        Self {
            rebalance: false,
            ..self
        }
    }
}
