-- Stores what the worker template has stored once more for COUNT others, sleeper-1 and so on, as the store itself would.
WITH template AS (
    SELECT w.pool, w.script, kv.key, kv.value
    FROM portside.worker w JOIN portside.kv kv USING (pool, shard, worker)
    WHERE w.name = 'template'
), sleeper AS MATERIALIZED (
    SELECT name, sha256(script || '\x00'::bytea || name) AS hash
    FROM template, generate_series(1, COUNT) AS number,
        LATERAL (SELECT convert_to('sleeper-' || number, 'UTF8') AS name) AS named
), placed AS MATERIALIZED (
    SELECT name, encode(substr(hash, 1, 16), 'hex')::uuid AS worker,
        (get_byte(hash, 2) & 15) << 8 | get_byte(hash, 3) AS shard
    FROM sleeper
), stored AS (
    INSERT INTO portside.worker (pool, shard, worker, script, name)
    SELECT pool, shard, worker, script, name FROM template, placed
)
INSERT INTO portside.kv (pool, shard, worker, key, value)
SELECT pool, shard, worker, key, value FROM template, placed
