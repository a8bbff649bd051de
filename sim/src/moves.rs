//! What became of pods that share the shards, and of the shards.

use std::fmt;
use std::ops::AddAssign;

use crate::network::Time;
use crate::world::UNNOTICED;

/// How often something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// In all.
    pub all: u64,
    /// When nothing failed any more and nobody was to notice.
    pub calm: u64,
}

impl Count {
    pub(crate) fn add(&mut self, now: Time, count: usize) {
        self.all += count as u64;
        if now >= UNNOTICED {
            self.calm += count as u64;
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.calm += other.calm;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} in calm)", self.all, self.calm)
    }
}

/// What was wanted of pods that share the shards, and what happened to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moves {
    /// Shards that were handed over.
    pub shards: Count,
    /// Changes of the revision that was wanted.
    pub rollouts: Count,
    /// Changes of how many pods were wanted.
    pub scalings: Count,
    /// How often somebody wanted a certain shard to be another pod's, and that could be.
    pub wishes: Count,
    /// Pods that died when nothing else failed any more.
    pub deaths: u64,
}

impl AddAssign for Moves {
    fn add_assign(&mut self, other: Self) {
        self.shards += other.shards;
        self.rollouts += other.rollouts;
        self.scalings += other.scalings;
        self.wishes += other.wishes;
        self.deaths += other.deaths;
    }
}

impl fmt::Display for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} shards handed over in {} rollouts and {} scalings, {} moved by name, {} deaths in calm",
            self.shards, self.rollouts, self.scalings, self.wishes, self.deaths
        )
    }
}
