-- $1 pool  $2 pod  $3 limit
-- The state of a claimed shard is loaded by later statements, never by this one: it reads as of its start.
WITH free AS MATERIALIZED (
    SELECT s.shard, s.epoch
    FROM portside.shard s LEFT JOIN portside.pod p ON p.pod = s.owner
    WHERE s.pool = $1 AND p.pod IS NULL AND EXISTS (SELECT FROM portside.pod me WHERE me.pod = $2)
),
-- The epoch is compared once more under the lock: who was quicker has raised it.
held AS (
    SELECT s.shard
    FROM portside.shard s JOIN free f ON s.shard = f.shard AND s.epoch = f.epoch
    WHERE s.pool = $1
    ORDER BY s.shard LIMIT $3
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE portside.shard s SET owner = $2, epoch = s.epoch + 1
FROM held h
WHERE s.pool = $1 AND s.shard = h.shard
RETURNING s.shard::bigint AS shard, s.epoch
