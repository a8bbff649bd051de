//! Who is alive and who owns what. One process has the file, so there are several pods in tests and simulations only.

use portside_core::ids::{Epoch, Fence, PodId, SHARDS, ShardId};
use portside_core::ownership::Member;
use portside_core::ownership::members::{
    Assignment, KeyFingerprint, MapChanges, MapVersion, Membership, Participant, Peer, Revision,
};
use rusqlite::{Connection, Row, TransactionBehavior};

use super::{blob, claimed, execute, fetch, of_fence};
use crate::{Result, rows};

const ANNOUNCE: &str =
    "UPDATE pod SET address = ?2, revision = ?3, protocol = ?4, key = ?5 WHERE pod = ?1";
const MEMBERS: &str = "SELECT p.pod, p.name, p.renewals, p.wants, p.address, p.revision, p.protocol, p.key, \
    (SELECT count(*) FROM shard s WHERE s.pool = p.pool AND s.owner = p.pod) AS owns \
    FROM pod p WHERE p.pool = ?1";
const SHARD_MAP: &str = "SELECT shard, owner, epoch FROM shard WHERE pool = ?1";
const HAND_OVER: &str = "UPDATE shard SET owner = ?5, epoch = epoch + 1 \
    WHERE pool = ?1 AND shard = ?2 AND owner = ?3 AND epoch = ?4 \
    AND EXISTS (SELECT 1 FROM pod WHERE pod = ?5) RETURNING shard, epoch";

pub(super) fn announce(connection: &Connection, pod: PodId, peer: &Peer) -> Result<bool> {
    let revision = peer.revision.0.cast_signed();
    let params = (
        blob(pod),
        &peer.address,
        revision,
        peer.protocol,
        peer.key.0,
    );
    Ok(execute(connection, ANNOUNCE, params)? == 1)
}

/// Whoever changes the owner of a shard says so, in the same transaction.
pub(super) fn map_changed(connection: &Connection) -> Result<()> {
    execute(connection, "UPDATE map SET version = version + 1", ())?;
    Ok(())
}

fn map_version(connection: &Connection) -> Result<MapVersion> {
    let mut version = connection.prepare_cached("SELECT version FROM map")?;
    let version: i64 = version.query_row((), |row| row.get(0))?;
    Ok(MapVersion(version.cast_unsigned()))
}

/// Nobody else writes, so all is as of one moment.
pub(super) fn membership(connection: &Connection, pool: i64) -> Result<Membership> {
    let read = |row: &Row<'_>| participant(row).map(Some);
    let participants: Vec<Participant> = fetch(connection, MEMBERS, [pool], read)?;
    let owned: u32 = participants.iter().map(|it| it.owns).sum();
    Ok(Membership {
        map_version: map_version(connection)?,
        free: SHARDS.saturating_sub(owned),
        participants,
    })
}

fn participant(row: &Row<'_>) -> Result<Participant> {
    let renewals: i64 = row.get("renewals")?;
    Ok(Participant {
        member: Member {
            pod: PodId(u128::from_be_bytes(row.get("pod")?)),
            renewed: renewals.cast_unsigned(),
            wants: row.get("wants")?,
        },
        name: row.get("name")?,
        peer: peer(row)?,
        owns: row.get("owns")?,
    })
}

fn peer(row: &Row<'_>) -> Result<Option<Peer>> {
    let Some(address) = row.get("address")? else {
        return Ok(None);
    };
    let revision: i64 = row.get("revision")?;
    let key: Vec<u8> = row.get("key")?;
    Ok(Some(Peer {
        address,
        revision: Revision(revision.cast_unsigned()),
        protocol: row.get("protocol")?,
        key: KeyFingerprint(rows::fingerprint(&key)?),
    }))
}

/// Nothing, or the whole map: it is in this process.
pub(super) fn changes(
    connection: &Connection,
    pool: i64,
    since: Option<MapVersion>,
) -> Result<MapChanges> {
    let version = map_version(connection)?;
    let read = |row: &Row<'_>| {
        let (shard, epoch) = rows::claimed(row)?;
        let owner: Option<[u8; 16]> = row.get("owner")?;
        Ok(Some(Assignment {
            shard,
            owner: owner.map(|owner| PodId(u128::from_be_bytes(owner))),
            epoch,
        }))
    };
    let assignments = match since == Some(version) {
        true => vec![],
        false => fetch(connection, SHARD_MAP, [pool], read)?,
    };
    Ok(MapChanges {
        version,
        assignments,
    })
}

pub(super) fn hand_over(
    connection: &mut Connection,
    pool: i64,
    fences: &[Fence],
    to: PodId,
) -> Result<Vec<(ShardId, Epoch)>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut moved = vec![];
    for fence in fences {
        let (pool, shard, owner, epoch) = of_fence(pool, *fence);
        let params = (pool, shard, owner, epoch, blob(to));
        let now: Vec<_> = fetch(&transaction, HAND_OVER, params, claimed)?;
        moved.extend(now);
    }
    if !moved.is_empty() {
        map_changed(&transaction)?;
    }
    transaction.commit()?;
    Ok(moved)
}
