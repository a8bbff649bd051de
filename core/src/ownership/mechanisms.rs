//! Safety mechanisms that a test can take away, to see that the tests notice.

/// Which safety mechanisms work. All do; only tests, or the feature `mutants`, can switch one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms {
    settle_before_load: bool,
    gateway_filter: bool,
    lease: bool,
}

impl Default for Mechanisms {
    fn default() -> Self {
        Self {
            settle_before_load: true,
            gateway_filter: true,
            lease: true,
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
}
