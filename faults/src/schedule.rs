//! What goes wrong, when, and for how long: the same for the same seed.

use std::time::Duration;

use clap::ValueEnum;

/// A fault. Times are drawn from the round's generator when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// The active pod, or `portside dev`, gets SIGKILL and is started again.
    Kill,
    /// All pods do, standbys too.
    KillAll,
    /// The active pod gets SIGKILL, and another one of another name comes.
    Replace,
    /// It gets SIGSTOP for longer than its lease, and then SIGCONT.
    Pause,
    /// The same for less than its lease.
    PauseShortly,
    /// It gets SIGTERM, and another one comes when it has ended.
    Drain,
    /// The code changes, and pod after pod is replaced by one that has the new one, as a Deployment does it.
    Rollout,
    /// The active pod gets SIGKILL, and what Postgres answers those that want to take over is lost now and then.
    LoseTakeover,
    /// The gateway gets SIGKILL and is started again.
    KillGateway,
    /// Postgres stops without a checkpoint, and recovers.
    CrashDatabase,
    /// Postgres ends all sessions and stops, and is started again.
    RestartDatabase,
    /// Postgres stops, and is away for longer than all leases.
    StopDatabase,
    /// All of the active pod's connections to Postgres are cut, several times.
    Cut,
    /// Answers of Postgres are lost, and their connections with them.
    LoseReplies,
    /// Requests to Postgres are lost, and their connections with them.
    LoseRequests,
    /// Everything to and from Postgres arrives late.
    Delay,
    /// Nothing to or from Postgres arrives for less than the lease, and then all of it.
    Hold,
    /// Nothing arrives between the active pod and Postgres for longer than the lease.
    Partition,
    /// Connections to Postgres hang without an error, and new ones work.
    Silence,
    /// Postgres cannot be connected to.
    Refuse,
    /// A standby that follows Postgres takes its place when it crashes, with all that was acknowledged.
    FailOver,
    /// Nothing arrives between the gateway and the active pod for a while.
    PartGateway,
    /// The class is scaled to one pod, to five, to two, and back.
    Scale,
    /// All connections of other pods to the active one are cut, several times.
    CutPeers,
    /// Nothing arrives between any two pods for a while.
    PartPeers,
    /// The code changes, and is loaded while it runs.
    Reload,
    /// The code changes to what cannot be loaded, and back.
    Break,
}

impl Fault {
    /// What can happen to pods on Postgres behind a gateway.
    pub const PODS: &[Self] = &[
        Self::Kill,
        Self::KillAll,
        Self::Replace,
        Self::Pause,
        Self::PauseShortly,
        Self::Drain,
        Self::Rollout,
        Self::LoseTakeover,
        Self::KillGateway,
        Self::CrashDatabase,
        Self::RestartDatabase,
        Self::StopDatabase,
        Self::Cut,
        Self::LoseReplies,
        Self::LoseRequests,
        Self::Delay,
        Self::Hold,
        Self::Partition,
        Self::Silence,
        Self::Refuse,
        Self::FailOver,
        Self::PartGateway,
    ];
    /// What can happen besides to pods that share the workers.
    pub const PEERS: &[Self] = &[Self::Scale, Self::CutPeers, Self::PartPeers];
    /// What can happen to `portside dev` on SQLite.
    pub const DEV: &[Self] = &[
        Self::Kill,
        Self::Pause,
        Self::PauseShortly,
        Self::Drain,
        Self::Reload,
        Self::Break,
    ];

    /// Whether all is done in order: nothing that a client has is to end by it.
    #[must_use]
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Drain | Self::Rollout | Self::Scale)
    }

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Faults in a random order in which each comes once before any comes again.
#[derive(Debug)]
pub struct Schedule {
    random: fastrand::Rng,
    all: Vec<Fault>,
    left: Vec<Fault>,
}

impl Schedule {
    /// A schedule of some faults.
    #[must_use]
    pub fn new(seed: u64, all: Vec<Fault>) -> Self {
        let left = Vec::new();
        Self {
            random: fastrand::Rng::with_seed(seed),
            all,
            left,
        }
    }

    /// The next one, if there are any.
    pub fn next(&mut self) -> Option<Fault> {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.random.shuffle(&mut self.left);
        }
        self.left.pop()
    }

    /// A time between two, in milliseconds.
    pub fn time(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(millis))
    }

    /// A number below another.
    pub fn below(&mut self, end: usize) -> usize {
        self.random.usize(..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64, count: usize) -> Vec<Fault> {
        let mut schedule = Schedule::new(seed, Fault::PODS.to_vec());
        std::iter::from_fn(|| schedule.next()).take(count).collect()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(faults(7, 100), faults(7, 100));
        assert_ne!(faults(7, 100), faults(8, 100));
    }

    #[test]
    fn each_comes_before_any_comes_again() {
        let mut once = faults(7, Fault::PODS.len());
        once.sort_unstable();
        let mut all = Fault::PODS.to_vec();
        all.sort_unstable();
        assert_eq!(once, all);
        assert_eq!(Schedule::new(7, vec![]).next(), None);
    }
}
