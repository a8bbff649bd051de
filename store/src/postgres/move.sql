-- $1 pool  $2 shard[]  $3 owner[]  $4 epoch[]  $5 to, or null: to nobody
-- Moves the shards whose fences hold to another owner, if that one is alive.
--
-- Locks are taken in one order, here, in `claim.sql` and in `release.sql`: a pod, shards by their numbers, the pool. So no two
-- of these wait for each other. And a map version that can be seen has nothing below it that cannot: whoever raises it
-- has all its shards and keeps the others waiting until it has committed.
WITH target AS MATERIALIZED (
    -- Holds off its death, not its renewals.
    SELECT p.pod FROM portside.pod p WHERE p.pod = $5 AND p.pool = $1 FOR KEY SHARE OF p
),
-- Having waited for a commit under way, each fence is looked at once more.
held AS MATERIALIZED (
    SELECT s.shard
    FROM unnest($2::integer[], $3::uuid[], $4::bigint[]) AS f (shard, owner, epoch)
    JOIN portside.shard s ON s.pool = $1 AND s.shard = f.shard AND s.owner = f.owner AND s.epoch = f.epoch
    WHERE $5::uuid IS NULL OR EXISTS (SELECT FROM target)
    ORDER BY s.shard
    FOR UPDATE OF s
),
map AS (
    UPDATE portside.pool p SET map_version = p.map_version + 1
    WHERE p.pool = $1 AND (SELECT count(*) FROM held) > 0
    RETURNING p.map_version
)
UPDATE portside.shard s SET owner = $5, epoch = s.epoch + 1, changed = map.map_version
FROM held h, map
WHERE s.pool = $1 AND s.shard = h.shard
RETURNING s.shard::bigint AS shard, s.epoch
