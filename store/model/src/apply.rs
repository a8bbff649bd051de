//! What a statement does once it has its locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portside_core::fold::Written;
use portside_core::ids::{Epoch, Fence, PodId, ShardId, WorkerId};
use portside_core::objects;
use portside_core::ownership::Member;
use portside_core::ownership::members::{
    Assignment, MapChanges, MapVersion, Membership, Participant,
};
use portside_core::stored::{Size, StoredWorker};
use portside_core::write::Commit;

use crate::tables::{Pod, Tables, Worker};
use crate::{Loaded, Reply, Row, Statement};

/// Reads come from `seen`, the tables as of the statement's start; locked rows are looked at as they are now.
pub(crate) fn apply(
    tables: &mut Arc<Tables>,
    statement: Statement,
    seen: Arc<Tables>,
    held: &[Row],
) -> Reply {
    if let Some(reply) = read(&statement, &seen) {
        return reply;
    }
    match statement {
        Statement::Commit { commits } => {
            let seqs = seqs(&commits, &seen);
            // A snapshot that nobody needs any more need not be copied.
            drop(seen);
            commit(Arc::make_mut(tables), &commits, &seqs, held)
        }
        other => {
            drop(seen);
            change(Arc::make_mut(tables), &other, held)
        }
    }
}

/// The answer to a statement that changes nothing; `None` for the others.
fn read(statement: &Statement, seen: &Tables) -> Option<Reply> {
    let entries = |shard: &ShardId, worker: &WorkerId| {
        let worker = seen.workers.get(&(*shard, *worker));
        worker.into_iter().flat_map(|worker| &worker.entries)
    };
    Some(match statement {
        Statement::Observe => {
            let pods = seen.pods.iter();
            Reply::Pods(pods.map(|(pod, it)| member(*pod, it)).collect())
        }
        Statement::Members => Reply::Membership(membership(seen)),
        Statement::ShardMap { since } => Reply::Changes(changes(seen, *since)),
        Statement::Owned { pod } => {
            let owned = seen.shards_where(|it| it.owner == Some(*pod));
            let epoch = |id| seen.shard(id).map_or(0, |it| it.epoch);
            Reply::Shards(owned.map(|id| (id, Epoch(epoch(id)))).collect())
        }
        Statement::Load {
            fence,
            worker,
            max_keys,
            max_bytes,
        } => Reply::Loaded(load(seen, *fence, *worker, *max_keys, *max_bytes)),
        Statement::Get {
            shard,
            worker,
            keys,
        } => Reply::Entries(
            entries(shard, worker)
                .filter(|(key, _)| keys.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        ),
        Statement::List {
            shard,
            worker,
            range,
        } => {
            let mut listed: Vec<_> = entries(shard, worker)
                .filter(|(key, _)| range.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if range.reverse {
                listed.reverse();
            }
            listed.truncate(range.limit.unwrap_or(usize::MAX));
            let mut left = range.max_bytes.unwrap_or(usize::MAX);
            let fit = listed.iter().take_while(|(key, value)| {
                let fits = left > 0;
                left = left.saturating_sub(key.len() + value.len());
                fits
            });
            let fitting = fit.count();
            listed.truncate(fitting);
            Reply::Entries(listed)
        }
        Statement::Alarms {
            shards,
            after,
            until,
            limit,
        } => {
            let mut due: Vec<_> = seen
                .workers
                .iter()
                .filter(|((shard, _), _)| shards.contains(shard))
                .filter_map(|((_, id), it)| it.alarm.map(|alarm| (alarm.due, *id, &it.key, alarm)))
                .filter(|(due, id, ..)| due <= until && after.is_none_or(|it| (*due, *id) > it))
                .collect();
            due.sort_by_key(|(due, id, ..)| (*due, *id));
            let due = due.into_iter().take(*limit);
            Reply::Alarms(due.map(|(_, _, key, alarm)| (key.clone(), alarm)).collect())
        }
        Statement::Workers { page } => {
            let shards = u32::try_from(seen.shards.len()).unwrap_or(u32::MAX);
            let workers = seen.workers.values().filter(|it| page.has(&it.key, shards));
            Reply::Workers(workers.take(page.size()).map(|it| stored(it)).collect())
        }
        Statement::Worker { worker } => {
            let workers = seen.workers.iter().filter(|((_, id), _)| id == worker);
            Reply::Workers(workers.map(|(_, it)| stored(it)).collect())
        }
        Statement::CountWorkers => Reply::Count(seen.workers.len() as u64),
        _ => return None,
    })
}

fn stored(it: &Worker) -> StoredWorker {
    let entries = it.entries.iter();
    let mut size = Size::default();
    for (key, value) in entries.take(Size::MOST_KEYS as usize) {
        size.keys += 1;
        size.bytes += (key.len() + value.len()) as u64;
    }
    StoredWorker {
        worker: it.key.clone(),
        alarm: it.alarm,
        size,
        object_name: object_name(it),
    }
}

fn object_name(it: &Worker) -> Option<String> {
    objects::class_of(&it.key)?;
    let name = it.entries.get(objects::NAME_KEY)?;
    String::from_utf8(name.to_vec()).ok()
}

fn member(pod: PodId, it: &Pod) -> Member {
    Member {
        pod,
        renewed: it.renewed,
        wants: it.wants,
    }
}

fn membership(seen: &Tables) -> Membership {
    let count = |owner: Option<PodId>| {
        let owned = seen.shards.iter().filter(|it| it.owner == owner);
        u32::try_from(owned.count()).unwrap_or(u32::MAX)
    };
    let participant = |(pod, it): (&PodId, &Pod)| Participant {
        member: member(*pod, it),
        name: it.name.clone(),
        peer: it.peer.clone(),
        owns: count(Some(*pod)),
    };
    let participants: Vec<_> = seen.pods.iter().map(participant).collect();
    let owned: u32 = participants.iter().map(|it| it.owns).sum();
    Membership {
        map_version: MapVersion(seen.map_version),
        free: u32::try_from(seen.shards.len()).unwrap_or(u32::MAX) - owned,
        participants,
    }
}

fn changes(seen: &Tables, since: Option<MapVersion>) -> MapChanges {
    let version = MapVersion(seen.map_version);
    // A version to come is of a database that is gone.
    let since = since.filter(|since| *since <= version);
    let shards = (0..).map(ShardId).zip(&seen.shards);
    let changed = shards.filter(|(_, it)| since.is_none_or(|since| it.changed > since.0));
    let assignment = |(shard, it): (ShardId, &crate::tables::Shard)| Assignment {
        shard,
        owner: it.owner,
        epoch: Epoch(it.epoch),
    };
    MapChanges {
        version,
        assignments: changed.map(assignment).collect(),
    }
}

/// A worker's state, as far as the limits allow: the entry that reaches `bytes` is the last one.
fn load(
    seen: &Tables,
    fence: Fence,
    worker: WorkerId,
    keys: usize,
    bytes: usize,
) -> Option<Loaded> {
    if !seen.holds(fence) {
        return None;
    }
    let Some(worker) = seen.workers.get(&(fence.shard, worker)) else {
        return Some(Loaded {
            complete: true,
            ..Loaded::default()
        });
    };
    let mut before = 0;
    let entries: BTreeMap<_, _> = worker
        .entries
        .iter()
        .take(keys.max(1))
        .take_while(|(key, value)| {
            let fits = before < bytes.max(1);
            before += key.len() + value.len();
            fits
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Some(Loaded {
        complete: entries.len() == worker.entries.len(),
        entries,
        alarm: worker.alarm,
    })
}

fn change(tables: &mut Tables, statement: &Statement, held: &[Row]) -> Reply {
    match statement {
        Statement::Register { pod, name } => {
            let row = tables.pods.entry(*pod).or_default();
            row.name.clone_from(name);
            Reply::Done
        }
        Statement::Renew { pod, number, wants } => {
            let row = tables.pods.get_mut(pod).filter(|_| !held.is_empty());
            let is_alive = row.is_some();
            if let Some(row) = row.filter(|row| row.renewed < *number) {
                row.renewed = *number;
                row.wants = *wants;
            }
            Reply::Is(is_alive)
        }
        Statement::Announce { pod, peer } => {
            let row = tables.pods.get_mut(pod).filter(|_| !held.is_empty());
            Reply::Is(row.map(|row| row.peer = Some(peer.clone())).is_some())
        }
        Statement::DeclareDead { pod, seen } => {
            let same = |row: &Pod| row.renewed == *seen && !held.is_empty();
            if tables.pods.get(pod).is_some_and(same) {
                tables.pods.remove(pod);
            }
            Reply::Is(!tables.pods.contains_key(pod))
        }
        Statement::Claim { pod, .. } => Reply::Shards(tables.assign(shards(held), Some(*pod))),
        Statement::Release { pod } => {
            let is_owned = |id| tables.shard(id).is_some_and(|it| it.owner == Some(*pod));
            let owned: Vec<ShardId> = shards(held).filter(|id| is_owned(*id)).collect();
            tables.assign(owned, None);
            tables.pods.remove(pod);
            Reply::Done
        }
        Statement::ReleaseShards { fences } => {
            let holding = holding(tables, fences, held);
            tables.assign(holding, None);
            Reply::Done
        }
        Statement::HandOver { fences, to } if tables.pods.contains_key(to) => {
            let holding = holding(tables, fences, held);
            Reply::Shards(tables.assign(holding, Some(*to)))
        }
        Statement::HandOver { .. } => Reply::Shards(vec![]),
        Statement::Advance { fence } => {
            Reply::Epoch((tables.holds(*fence) && !held.is_empty()).then(|| {
                let shard = &mut tables.shards[fence.shard.0 as usize];
                shard.epoch += 1;
                Epoch(shard.epoch)
            }))
        }
        Statement::DeleteAll { pod } => Reply::Is(delete_all(tables, *pod, held)),
        _ => Reply::Done,
    }
}

fn shards(held: &[Row]) -> impl Iterator<Item = ShardId> {
    held.iter().filter_map(|row| match row {
        Row::Shard(id) => Some(*id),
        Row::Pod(_) | Row::Map => None,
    })
}

/// The shards that are locked and whose fences hold.
fn holding(tables: &Tables, fences: &[Fence], held: &[Row]) -> BTreeSet<ShardId> {
    let is_held = |fence: &&Fence| held.contains(&Row::Shard(fence.shard)) && tables.holds(**fence);
    fences.iter().filter(is_held).map(|it| it.shard).collect()
}

fn delete_all(tables: &mut Tables, pod: PodId, held: &[Row]) -> bool {
    let is_whole = !tables.shards.is_empty() && held.len() == tables.shards.len();
    let is_owner = is_whole && tables.shards.iter().all(|it| it.owner == Some(pod));
    if is_owner {
        *tables = Tables::new(0);
    }
    is_owner
}

/// How many commits each commit's shard had seen at the statement's start.
fn seqs(commits: &[Commit], seen: &Tables) -> Vec<u64> {
    let of = |it: &Commit| seen.shard(it.fence.shard).map_or(0, |it| it.seq);
    commits.iter().map(of).collect()
}

fn commit(tables: &mut Tables, commits: &[Commit], seqs: &[u64], held: &[Row]) -> Reply {
    let judge = |(it, seq): (&Commit, &u64)| {
        if !held.contains(&Row::Shard(it.fence.shard)) || !tables.holds(it.fence) {
            return Written::Fenced;
        }
        match tables.shard(it.fence.shard) {
            Some(shard) if shard.seq == *seq => Written::Committed,
            _ => Written::Again,
        }
    };
    let written: Vec<Written> = commits.iter().zip(seqs).map(judge).collect();
    for id in shards(held) {
        if let Some(shard) = tables.shards.get_mut(id.0 as usize) {
            shard.seq += 1;
        }
    }
    for (it, written) in commits.iter().zip(&written) {
        if *written == Written::Committed {
            tables.write(it.fence.shard, &it.worker, &it.batch);
        }
    }
    Reply::Written(written)
}
