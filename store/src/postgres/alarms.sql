-- $1 pool  $2 shard[]  $3 until  $4 limit  $5 $6 after this due time and worker
SELECT a.script, a.name, a.scheduled, a.retries, a.due
FROM unnest($2::integer[]) AS s (shard)
CROSS JOIN LATERAL (
    SELECT worker, script, name, scheduled, retries, due FROM portside.worker
    WHERE pool = $1 AND shard = s.shard AND due IS NOT NULL AND due <= $3
        AND due >= $5 AND (due, worker) > ($5, $6)
    ORDER BY due, worker LIMIT $4
) AS a
ORDER BY a.due, a.worker LIMIT $4
