-- $1 pool
-- A row for each live pod, with how many shards it owns; one row without a pod if there is none.
SELECT l.map_version, p.pod, p.name, p.renewals, p.wants, p.address, p.revision, p.protocol, p.key,
    coalesce(o.owns, 0) AS owns
FROM portside.pool l
LEFT JOIN portside.pod p ON p.pool = l.pool
LEFT JOIN (
    SELECT s.owner, count(*) AS owns FROM portside.shard s
    WHERE s.pool = $1 AND s.owner IS NOT NULL
    GROUP BY s.owner
) AS o ON o.owner = p.pod
WHERE l.pool = $1
