-- ?1 pool  ?2 shard  ?3 owner  ?4 epoch  ?5 worker  ?6 max keys  ?7 max bytes
-- No row: fenced. Each row is one entry; the single row of a worker without entries has a null key.
-- How long a value is, is in its row's first page. The values themselves are read for the entries that are wanted.
SELECT w.scheduled, w.retries, w.due, page.key, kv.value, page.found
FROM shard s
LEFT JOIN worker w ON w.pool = s.pool AND w.shard = s.shard AND w.worker = ?5
LEFT JOIN (
    SELECT sized.key,
        row_number() OVER entries AS place,
        count(*) OVER () AS found,
        sum(sized.bytes) OVER entries - sized.bytes AS bytes_before
    FROM (
        SELECT key, length(key) + length(value) AS bytes FROM kv
        WHERE pool = ?1 AND shard = ?2 AND worker = ?5
        ORDER BY key LIMIT ?6 + 1
    ) AS sized
    WINDOW entries AS (ORDER BY sized.key ROWS UNBOUNDED PRECEDING)
) AS page ON page.place <= ?6 AND page.bytes_before < ?7
LEFT JOIN kv ON kv.pool = s.pool AND kv.shard = s.shard AND kv.worker = ?5 AND kv.key = page.key
WHERE s.pool = ?1 AND s.shard = ?2 AND s.owner = ?3 AND s.epoch = ?4
