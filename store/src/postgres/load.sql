-- $1 pool  $2 shard  $3 owner  $4 epoch  $5 worker  $6 max keys  $7 max bytes
-- No row: fenced. Each row is one entry; the single row of a worker without entries has a null key.
SELECT w.scheduled, w.retries, w.due, kv.key, kv.value, kv.found
FROM portside.shard s
LEFT JOIN portside.worker w ON w.pool = s.pool AND w.shard = s.shard AND w.worker = $5
LEFT JOIN LATERAL (
    SELECT k.key, k.value, k.found
    FROM (
        SELECT page.key, page.value,
            row_number() OVER entries AS place,
            count(*) OVER () AS found,
            sum(octet_length(page.key) + octet_length(page.value)) OVER entries
                - octet_length(page.key) - octet_length(page.value) AS bytes_before
        FROM (
            SELECT key, value FROM portside.kv
            WHERE pool = $1 AND shard = $2 AND worker = $5
            ORDER BY key LIMIT $6::bigint + 1
        ) AS page
        WINDOW entries AS (ORDER BY page.key ROWS UNBOUNDED PRECEDING)
    ) AS k
    WHERE k.place <= $6::bigint AND k.bytes_before < $7::bigint
) AS kv ON true
WHERE s.pool = $1 AND s.shard = $2 AND s.owner = $3 AND s.epoch = $4
