//! Who is alive and who owns what, from rows.

use portside_core::ids::{PodId, SHARDS};
use portside_core::ownership::Member;
use portside_core::ownership::members::{
    Assignment, KeyFingerprint, MapChanges, MapVersion, Membership, Participant, Peer, Revision,
};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{Result, rows};

fn pod(row: &PgRow, column: &str) -> Result<Option<PodId>> {
    let pod: Option<Uuid> = row.try_get(column)?;
    Ok(pod.map(|pod| PodId(pod.as_u128())))
}

/// Every row has it.
fn map_version(rows: &[PgRow]) -> Result<MapVersion> {
    let version: i64 = rows
        .first()
        .map_or(Ok(0), |row| row.try_get("map_version"))?;
    Ok(MapVersion(version.cast_unsigned()))
}

fn peer(row: &PgRow) -> Result<Option<Peer>> {
    let address: Option<String> = row.try_get("address")?;
    let revision: Option<i64> = row.try_get("revision")?;
    let protocol: Option<i32> = row.try_get("protocol")?;
    let key: Option<Vec<u8>> = row.try_get("key")?;
    let (Some(address), Some(revision), Some(protocol), Some(key)) =
        (address, revision, protocol, key)
    else {
        return Ok(None);
    };
    Ok(Some(Peer {
        address,
        revision: Revision(revision.cast_unsigned()),
        protocol: protocol.cast_unsigned(),
        key: KeyFingerprint(rows::fingerprint(&key)?),
    }))
}

/// From the rows of `members.sql`.
pub(super) fn membership(rows: &[PgRow]) -> Result<Membership> {
    let mut participants = vec![];
    for row in rows {
        let Some(pod) = pod(row, "pod")? else {
            continue;
        };
        let renewals: i64 = row.try_get("renewals")?;
        let owns: i64 = row.try_get("owns")?;
        participants.push(Participant {
            member: Member {
                pod,
                renewed: renewals.cast_unsigned(),
                wants: row.try_get("wants")?,
            },
            name: row.try_get("name")?,
            peer: peer(row)?,
            owns: u32::try_from(owns).unwrap_or(SHARDS),
        });
    }
    let owned: u32 = participants.iter().map(|it| it.owns).sum();
    Ok(Membership {
        map_version: map_version(rows)?,
        free: SHARDS.saturating_sub(owned),
        participants,
    })
}

/// From the rows of `shard_map.sql`.
pub(super) fn changes(rows: &[PgRow]) -> Result<MapChanges> {
    let mut assignments = vec![];
    for row in rows {
        if row.try_get::<Option<i64>, _>("shard")?.is_none() {
            continue;
        }
        let (shard, epoch) = rows::claimed(row)?;
        let owner = pod(row, "owner")?;
        assignments.push(Assignment {
            shard,
            owner,
            epoch,
        });
    }
    Ok(MapChanges {
        version: map_version(rows)?,
        assignments,
    })
}
