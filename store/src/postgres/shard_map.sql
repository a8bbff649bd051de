-- $1 pool  $2 since, or -1 for everything
-- A row for each shard that has changed since then; one row without a shard if none has. A version that is not known yet is of
-- a database whose place this one has taken: everything may be different.
SELECT l.map_version, s.shard::bigint AS shard, s.owner, s.epoch
FROM portside.pool l
LEFT JOIN portside.shard s ON s.pool = l.pool AND (s.changed > $2 OR l.map_version < $2)
WHERE l.pool = $1
