-- $1 pool  $2 pod
-- Gives up all that a pod has, its lease first. The order of locks is that of `move.sql`.
WITH gone AS (
    DELETE FROM portside.pod WHERE pod = $2 RETURNING pod
),
held AS MATERIALIZED (
    SELECT s.shard FROM portside.shard s
    WHERE s.pool = $1 AND s.owner = $2 AND (SELECT count(*) FROM gone) >= 0
    ORDER BY s.shard
    FOR UPDATE OF s
),
map AS (
    UPDATE portside.pool p SET map_version = p.map_version + 1
    WHERE p.pool = $1 AND (SELECT count(*) FROM held) > 0
    RETURNING p.map_version
)
UPDATE portside.shard s SET owner = NULL, epoch = s.epoch + 1, changed = map.map_version
FROM held h, map
WHERE s.pool = $1 AND s.shard = h.shard
