//! The mechanisms that a run can be without, to see that the checker notices.

use std::fmt;
use std::str::FromStr;

/// Something that keeps the invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The store compares who commits with who owns the shard.
    Fence,
    /// The store compares the epoch of a commit with the shard's.
    Epoch,
    /// After a commit of unknown fate the shard moves to a new epoch before anything of it is loaded.
    SettleBeforeLoad,
    /// Answers wait for the writes that they could reveal.
    OutputGate,
    /// Answers leave only while the lease is valid.
    LeaseInGate,
    /// A pod's lease ends by its own clock: it does not act on when it cannot have it renewed.
    Lease,
    /// Who declares others dead waits longer than their lease, for clocks go unequally fast.
    Patience,
    /// The gateway believes no lower term after a higher one, and cuts off a pod that was overtaken.
    GatewayFilter,
    /// Several batches of one worker in a statement are made one.
    Folding,
    /// What a turn that was killed has written is thrown away.
    DiscardKilledTurn,
    /// All that a turn writes, keys, changes of a database and alarm, is one batch.
    OneBatch,
    /// An isolate that ends ends all objects that live in it, and whoever waits for them is told.
    EndResidents,
    /// The workers of a shard are brought to rest before it is handed over.
    Quiescence,
    /// What nobody has heard when a worker leaves follows it.
    TakeAlong,
    /// No fence of a shard is given while it is handed over, and nobody is woken in it.
    TakeFencesBack,
    /// The store moves only what is owned by whoever hands it over, in the epoch in which that is done.
    HandOverFence,
    /// After a hand-over of unknown fate the shard moves to a new epoch before anything of it is loaded.
    SettleHandOver,
    /// A pod knows better than the store what it has, and what it gives away already.
    CorrectCounts,
    /// So many shards of a pod leave at the same time, and no more.
    LeavingLimit,
    /// A pod that drains looks anew who wants shards, and what it was given, before it ends.
    LookBeforeEnd,
    /// Pods whose leases are not renewed are declared dead, which frees their shards.
    DeclareDead,
    /// A pod that serves gives away what is beyond its share.
    Rebalance,
    /// A pod that drains ends as soon as others want nothing more of it.
    EndOnceGiven,
    /// Whoever waits for a pod is told that the connection to it is lost.
    HearLosses,
    /// What another pod has not taken, for it has not the worker, is asked again where that is.
    AskAgain,
}

impl Mechanism {
    /// Every one of them.
    pub const ALL: [Self; 25] = [
        Self::Fence,
        Self::Epoch,
        Self::SettleBeforeLoad,
        Self::OutputGate,
        Self::LeaseInGate,
        Self::Lease,
        Self::Patience,
        Self::GatewayFilter,
        Self::Folding,
        Self::DiscardKilledTurn,
        Self::OneBatch,
        Self::EndResidents,
        Self::Quiescence,
        Self::TakeAlong,
        Self::TakeFencesBack,
        Self::HandOverFence,
        Self::SettleHandOver,
        Self::CorrectCounts,
        Self::LeavingLimit,
        Self::LookBeforeEnd,
        Self::DeclareDead,
        Self::Rebalance,
        Self::EndOnceGiven,
        Self::HearLosses,
        Self::AskAgain,
    ];
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fence => "fence",
            Self::Epoch => "epoch",
            Self::SettleBeforeLoad => "settle-before-load",
            Self::OutputGate => "output-gate",
            Self::LeaseInGate => "lease-in-gate",
            Self::Lease => "lease",
            Self::Patience => "patience",
            Self::GatewayFilter => "gateway-filter",
            Self::Folding => "folding",
            Self::DiscardKilledTurn => "discard-killed-turn",
            Self::OneBatch => "one-batch",
            Self::EndResidents => "end-residents",
            Self::Quiescence => "quiescence",
            Self::TakeAlong => "take-along",
            Self::TakeFencesBack => "take-fences-back",
            Self::HandOverFence => "hand-over-fence",
            Self::SettleHandOver => "settle-hand-over",
            Self::CorrectCounts => "correct-counts",
            Self::LeavingLimit => "leaving-limit",
            Self::LookBeforeEnd => "look-before-end",
            Self::DeclareDead => "declare-dead",
            Self::Rebalance => "rebalance",
            Self::EndOnceGiven => "end-once-given",
            Self::HearLosses => "hear-losses",
            Self::AskAgain => "ask-again",
        })
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.to_string() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|it| it.to_string()).join(", ");
            format!("no mechanism is called {name:?}; there are: {names}")
        })
    }
}
