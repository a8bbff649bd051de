//! Which rows a statement locks. What it changes is chosen by its snapshot and looked at once more under the lock, as
//! Postgres does.

use std::collections::BTreeSet;

use portside_core::ids::Fence;

use crate::tables::Tables;
use crate::{Row, Statement};

/// The rows that a statement means to change, by what it saw at its start, in the order in which it locks them.
pub(crate) fn locks(statement: &Statement, seen: &Tables) -> Vec<Row> {
    let pod_row = |pod| seen.pods.contains_key(pod).then_some(Row::Pod(*pod));
    match statement {
        Statement::Renew { pod, .. } => pod_row(pod).into_iter().collect(),
        Statement::DeclareDead { pod, seen: number } => {
            let same = seen.pods.get(pod).is_some_and(|it| it.renewed == *number);
            same.then_some(Row::Pod(*pod)).into_iter().collect()
        }
        Statement::Claim { pod, .. } if seen.pods.contains_key(pod) => seen
            .shards_where(|it| it.owner.is_none_or(|owner| !seen.pods.contains_key(&owner)))
            .map(Row::Shard)
            .collect(),
        Statement::Release { pod } => seen
            .shards_where(|it| it.owner == Some(*pod))
            .map(Row::Shard)
            .chain(pod_row(pod))
            .collect(),
        Statement::DeleteAll { pod } => seen
            .shards_where(|it| it.owner == Some(*pod))
            .map(Row::Shard)
            .collect(),
        Statement::Advance { fence } if seen.holds(*fence) => vec![Row::Shard(fence.shard)],
        Statement::Commit { commits } => fence_rows(commits.iter().map(|it| it.fence), seen),
        Statement::ReleaseShards { fences } => fence_rows(fences.iter().copied(), seen),
        _ => Vec::new(),
    }
}

/// The rows of the fences that hold.
fn fence_rows(fences: impl Iterator<Item = Fence>, seen: &Tables) -> Vec<Row> {
    let held = fences.filter(|fence| seen.holds(*fence));
    let shards: BTreeSet<_> = held.map(|fence| fence.shard).collect();
    shards.into_iter().map(Row::Shard).collect()
}

/// Whether a statement still wants a row when nobody else has it locked.
pub(crate) fn wants(statement: &Statement, seen: &Tables, now: &Tables, row: Row) -> bool {
    match (statement, row) {
        // Who was quicker has raised the epoch.
        (Statement::Claim { .. }, Row::Shard(shard)) => {
            let epoch = |tables: &Tables| tables.shard(shard).map(|it| it.epoch);
            epoch(seen) == epoch(now)
        }
        _ => true,
    }
}
