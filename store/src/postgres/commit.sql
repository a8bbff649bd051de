-- Many workers' writes, in one statement and one flush. A data-modifying statement sees none of its own changes, so no row
-- may be touched twice: the caller has folded each worker's batches into one.
--
-- $1 pool
-- fences, by shard:  $2 shard[]  $3 owner[]  $4 epoch[]
-- puts:              $5 fence[]  $6 worker[]  $7 key[]  $8 value[]
-- deletes:           $9 fence[]  $10 worker[]  $11 key[]
-- workers:           $12 fence[]  $13 worker[]  $14 script[]  $15 name[]  $16 clear[]
--     their puts:       $17 from[]  $18 to[]     places in $5..$8
--     their deletes:    $19 from[]  $20 to[]     places in $9..$11
--     their alarm:      $21 absolute[]  $22 scheduled[]  $23 retries[]  $24 due[]
--     their conditions: $25 from[]  $26 to[]     places in $27..$30
-- alarm conditions:  $27 if_scheduled[]  $28 disarm[]  $29 retries[]  $30 due[]
-- `fence` counts places in $2..$4. Places count from 1; `from` and `to` are inclusive.
WITH want AS MATERIALIZED (
    SELECT t.place, t.shard, t.owner, t.epoch, s.seq
    FROM unnest($2::integer[], $3::uuid[], $4::bigint[]) WITH ORDINALITY AS t (shard, owner, epoch, place)
    JOIN portside.shard s ON s.pool = $1 AND s.shard = t.shard
),
-- The fence is an update because only a lock on the row holds off a takeover until this statement has committed. Having
-- waited for that lock, this statement still reads as of its start: if another commit got in between, `fresh` is false,
-- nothing is written for that shard, and the caller asks again.
fence AS (
    UPDATE portside.shard s SET seq = s.seq + 1
    FROM want w
    WHERE s.pool = $1 AND s.shard = w.shard AND s.owner = w.owner AND s.epoch = w.epoch
    RETURNING w.place, s.shard, s.seq = w.seq + 1 AS fresh
),
-- By place, 1 for what may be written and 0 for what may not. An array, because looking a place up in it costs the same
-- however many there are. And numbers to compare, because the planner takes "= 1" to be rare: it then fetches the tables'
-- rows one by one through their keys, even if it believes the tables to be small.
open AS MATERIALIZED (
    SELECT array_agg(held ORDER BY place) AS held
    FROM (
        SELECT place, max(held) AS held
        FROM (
            SELECT place, 1 AS held FROM fence WHERE fresh
            UNION ALL
            SELECT place, 0 FROM generate_series(1, cardinality($2::integer[])) AS place
        ) AS either
        GROUP BY place
    ) AS p
),
put AS (
    INSERT INTO portside.kv AS kv (pool, shard, worker, key, value)
    SELECT $1, ($2::integer[])[t.fence], t.worker, t.key, t.value
    FROM unnest($5::integer[], $6::uuid[], $7::bytea[], $8::bytea[]) AS t (fence, worker, key, value)
    WHERE (SELECT held FROM open)[t.fence] = 1
    ON CONFLICT (pool, shard, worker, key) DO UPDATE SET value = excluded.value
),
deleted AS (
    DELETE FROM portside.kv USING (
        SELECT ($2::integer[])[t.fence] AS shard, t.worker, t.key
        FROM unnest($9::integer[], $10::uuid[], $11::bytea[]) AS t (fence, worker, key)
        WHERE (SELECT held FROM open)[t.fence] = 1
    ) AS d
    WHERE kv.pool = $1 AND kv.shard = d.shard AND kv.worker = d.worker AND kv.key = d.key
),
batch AS MATERIALIZED (
    SELECT ($2::integer[])[t.fence] AS shard, t.*
    FROM unnest(
        $12::integer[], $13::uuid[], $14::bytea[], $15::bytea[], $16::integer[],
        $17::integer[], $18::integer[], $19::integer[], $20::integer[],
        $21::boolean[], $22::bigint[], $23::bigint[], $24::bigint[], $25::integer[], $26::integer[]
    ) AS t (
        fence, worker, script, name, clear, put_from, put_to, delete_from, delete_to,
        absolute, scheduled, retries, due, if_from, if_to
    )
    WHERE (SELECT held FROM open)[t.fence] = 1
),
-- What is put stays, for `put` replaces it.
cleared AS (
    DELETE FROM portside.kv USING (
        SELECT shard, worker, ($7::bytea[])[put_from:put_to] AS keep FROM batch WHERE clear = 1
    ) AS c
    WHERE kv.pool = $1 AND kv.shard = c.shard AND kv.worker = c.worker AND kv.key <> ALL (c.keep)
),
alarmed AS MATERIALIZED (
    SELECT b.*, w.worker IS NOT NULL AS known,
        (w.scheduled, w.retries, w.due) IS DISTINCT FROM (a.scheduled, a.retries, a.due) AS moved,
        a.scheduled AS new_scheduled, a.retries AS new_retries, a.due AS new_due
    FROM batch b
    LEFT JOIN portside.worker w ON w.pool = $1 AND w.shard = b.shard AND w.worker = b.worker
    LEFT JOIN LATERAL (
        SELECT ($28::boolean[])[i] AS disarm, ($29::bigint[])[i] AS retries, ($30::bigint[])[i] AS due
        FROM generate_series(b.if_from, b.if_to) AS i
        WHERE ($27::bigint[])[i] = w.scheduled
    ) AS c ON true
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN b.absolute THEN b.scheduled WHEN c.disarm THEN NULL ELSE w.scheduled END AS scheduled,
            CASE WHEN b.absolute THEN b.retries WHEN c.disarm THEN NULL ELSE coalesce(c.retries, w.retries) END AS retries,
            CASE WHEN b.absolute THEN b.due WHEN c.disarm THEN NULL ELSE coalesce(c.due, w.due) END AS due
    ) AS a
),
-- A worker without a key and without an alarm has no row.
judged AS MATERIALIZED (
    SELECT a.*, CASE
        WHEN a.new_due IS NOT NULL OR a.put_from <= a.put_to THEN 1
        WHEN a.clear = 1 THEN 0
        ELSE (EXISTS (
            SELECT FROM portside.kv
            WHERE kv.pool = $1 AND kv.shard = a.shard AND kv.worker = a.worker
                AND kv.key <> ALL (($11::bytea[])[a.delete_from:a.delete_to])
        ))::integer
    END AS kept
    FROM alarmed a
),
gone AS (
    DELETE FROM portside.worker w USING judged j
    WHERE j.known AND j.kept = 0 AND w.pool = $1 AND w.shard = j.shard AND w.worker = j.worker
),
kept AS (
    INSERT INTO portside.worker AS w (pool, shard, worker, script, name, scheduled, retries, due)
    SELECT $1, shard, worker, script, name, new_scheduled, new_retries, new_due
    FROM judged WHERE kept = 1 AND (moved OR NOT known)
    ON CONFLICT (pool, shard, worker)
    DO UPDATE SET scheduled = excluded.scheduled, retries = excluded.retries, due = excluded.due
)
SELECT place, fresh FROM fence
