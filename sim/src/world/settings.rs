//! How pods are set up in a run.

use portside_core::ownership::{
    LEASE_MS, Mechanisms, PATIENCE_MS, SHARED_CLAIM_INTERVAL_MS, Settings, Sharing,
};

use super::{FAULTY, SCALE};
use crate::mechanism::Mechanism;
use crate::network::Faults;
use crate::random::Random;

/// What goes wrong, and how often.
pub(super) fn faults(random: &mut Random, wild_clocks: bool) -> Faults {
    Faults {
        slow: random.within(0, 30),
        lost: random.within(0, 15),
        killed: random.within(0, 30),
        interval_ms: [200, 400, 800][random.index(3)],
        wild_clocks,
        until: FAULTY,
    }
}

/// What pods go by.
pub(super) fn settings(
    random: &mut Random,
    is_shared: bool,
    without: Option<Mechanism>,
) -> Settings {
    let all = Mechanisms::default();
    let mechanisms = match without {
        Some(Mechanism::SettleBeforeLoad) => all.without_settling(),
        Some(Mechanism::Lease) => all.without_lease(),
        Some(Mechanism::GatewayFilter) => all.without_gateway_filter(),
        Some(Mechanism::TakeFencesBack) => all.without_taking_fences_back(),
        Some(Mechanism::SettleHandOver) => all.without_settling_hand_overs(),
        Some(Mechanism::LookBeforeEnd) => all.without_looking_before_end(),
        Some(Mechanism::CorrectCounts) => all.without_correcting_counts(),
        Some(Mechanism::DeclareDead) => all.without_declaring_dead(),
        Some(Mechanism::Rebalance) => all.without_rebalancing(),
        _ => all,
    };
    let lease_ms = LEASE_MS / SCALE;
    let settings = Settings {
        shards: [1, 2, 4][random.index(3)],
        renewal_interval_ms: 100,
        lease_ms,
        patience_ms: match without {
            Some(Mechanism::Patience) => lease_ms,
            _ => PATIENCE_MS / SCALE,
        },
        observation_interval_ms: 50,
        claim_interval_ms: 400,
        retry_interval_ms: 100,
        mechanisms,
        ..Settings::default()
    };
    match is_shared {
        false => settings,
        true => Settings {
            sharing: Sharing::Shared,
            shards: [4, 8, 16][random.index(3)],
            max_shards_leaving: random.within(1, 4) as u32,
            membership_interval_ms: 100,
            claim_interval_ms: SHARED_CLAIM_INTERVAL_MS / SCALE,
            ..settings
        },
    }
}
