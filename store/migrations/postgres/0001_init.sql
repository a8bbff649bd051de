-- Everything lives in the schema `portside`, which the migrator creates. Names, keys and values are bytea: text cannot
-- hold NUL, and bytea compares by bytes, which is the order of storage.list.

CREATE TABLE portside.pool (
    pool   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text NOT NULL UNIQUE,
    shards integer NOT NULL
);

-- One row per live process start. A pod that is declared dead, or that leaves, has no row.
CREATE TABLE portside.pod (
    pod      uuid PRIMARY KEY,
    pool     integer NOT NULL REFERENCES portside.pool,
    name     text NOT NULL,
    renewals bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX pod_pool ON portside.pod (pool);

-- The fences. `epoch` grows with every change of ownership, `seq` with every commit; both only ever grow.
CREATE TABLE portside.shard (
    pool  integer NOT NULL REFERENCES portside.pool,
    shard integer NOT NULL,
    owner uuid,
    epoch bigint NOT NULL DEFAULT 0,
    seq   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (pool, shard)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- The workers that have a key or an alarm, and no others.
CREATE TABLE portside.worker (
    pool      integer NOT NULL,
    shard     integer NOT NULL,
    worker    uuid NOT NULL,
    script    bytea NOT NULL,
    name      bytea NOT NULL,
    scheduled bigint,
    retries   bigint,
    due       bigint,
    PRIMARY KEY (pool, shard, worker),
    CHECK (num_nulls(scheduled, retries, due) IN (0, 3))
) PARTITION BY HASH (pool, shard);
CREATE INDEX worker_due ON portside.worker (pool, shard, due) WHERE due IS NOT NULL;

CREATE TABLE portside.kv (
    pool   integer NOT NULL,
    shard  integer NOT NULL,
    worker uuid NOT NULL,
    key    bytea NOT NULL,
    value  bytea NOT NULL,
    PRIMARY KEY (pool, shard, worker, key)
) PARTITION BY HASH (pool, shard);

DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format('CREATE TABLE portside.worker_%s PARTITION OF portside.worker
            FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH (fillfactor = 70)', i, i);
        EXECUTE format('CREATE TABLE portside.kv_%s PARTITION OF portside.kv
            FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH (fillfactor = 80)', i, i);
    END LOOP;
END $$;
