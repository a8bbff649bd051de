//! Which rows a statement locks. What it changes is chosen by its snapshot and looked at once more under the lock, as
//! Postgres does.

use std::collections::BTreeSet;

use portside_core::ids::{Fence, ShardId};

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
        Statement::Announce { pod, .. } => pod_row(pod).into_iter().collect(),
        Statement::Claim { pod, .. } if seen.pods.contains_key(pod) => seen
            .shards_where(|it| it.owner.is_none_or(|owner| !seen.pods.contains_key(&owner)))
            .map(Row::Shard)
            .chain([Row::Map])
            .collect(),
        Statement::Release { pod } => pod_row(pod)
            .into_iter()
            .chain(
                seen.shards_where(|it| it.owner == Some(*pod))
                    .map(Row::Shard),
            )
            .chain([Row::Map])
            .collect(),
        Statement::DeleteAll { pod } => seen
            .shards_where(|it| it.owner == Some(*pod))
            .map(Row::Shard)
            .collect(),
        Statement::Advance { fence } if seen.holds(*fence) => vec![Row::Shard(fence.shard)],
        Statement::Commit { commits } => fence_rows(commits.iter().map(|it| it.fence), seen),
        Statement::ReleaseShards { fences } => moved_rows(fences, seen),
        // Whether its target lives is looked at when it ends: it holds off its death, but nobody waits for that.
        Statement::HandOver { fences, to } if seen.pods.contains_key(to) => {
            moved_rows(fences, seen)
        }
        _ => Vec::new(),
    }
}

/// The rows of the fences that hold.
fn fence_rows(fences: impl Iterator<Item = Fence>, seen: &Tables) -> Vec<Row> {
    let held = fences.filter(|fence| seen.holds(*fence));
    let shards: BTreeSet<_> = held.map(|fence| fence.shard).collect();
    shards.into_iter().map(Row::Shard).collect()
}

/// And the map, which changes with them.
fn moved_rows(fences: &[Fence], seen: &Tables) -> Vec<Row> {
    let mut rows = fence_rows(fences.iter().copied(), seen);
    rows.push(Row::Map);
    rows
}

/// Whether a statement still wants a shard's row when nobody else has it locked.
pub(crate) fn wants(statement: &Statement, seen: &Tables, now: &Tables, shard: ShardId) -> bool {
    // Who was quicker than a claim has raised the epoch.
    let epoch = |tables: &Tables| tables.shard(shard).map(|it| it.epoch);
    !matches!(statement, Statement::Claim { .. }) || epoch(seen) == epoch(now)
}
