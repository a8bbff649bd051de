-- ?1 pool  ?2 shard  ?3 owner  ?4 epoch  ?5 worker  ?6 max keys  ?7 max bytes
-- No row: fenced. Each row is one entry; the single row of a worker without entries has a null key.
SELECT w.scheduled, w.retries, w.due, kv.key, kv.value, kv.found
FROM shard s
LEFT JOIN worker w ON w.pool = s.pool AND w.shard = s.shard AND w.worker = ?5
LEFT JOIN (
    SELECT page.key, page.value,
        row_number() OVER entries AS place,
        count(*) OVER () AS found,
        sum(page.bytes) OVER entries - page.bytes AS bytes_before
    FROM (
        SELECT key, value, length(key) + length(value) AS bytes FROM kv
        WHERE pool = ?1 AND shard = ?2 AND worker = ?5
        ORDER BY key LIMIT ?6 + 1
    ) AS page
    WINDOW entries AS (ORDER BY page.key ROWS UNBOUNDED PRECEDING)
) AS kv ON kv.place <= ?6 AND kv.bytes_before < ?7
WHERE s.pool = ?1 AND s.shard = ?2 AND s.owner = ?3 AND s.epoch = ?4
