-- The same tables as on Postgres. Names, keys and values are blobs: they may hold NUL, and blobs compare by bytes,
-- which is the order of storage.list.

CREATE TABLE pool (
    pool   INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    shards INTEGER NOT NULL
) STRICT;

-- One row per live process start. A pod that is declared dead, or that leaves, has no row.
CREATE TABLE pod (
    pod      BLOB PRIMARY KEY,
    pool     INTEGER NOT NULL REFERENCES pool,
    name     TEXT NOT NULL,
    renewals INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The fences. `epoch` grows with every change of ownership.
CREATE TABLE shard (
    pool  INTEGER NOT NULL REFERENCES pool,
    shard INTEGER NOT NULL,
    owner BLOB,
    epoch INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (pool, shard)
) STRICT, WITHOUT ROWID;

-- The workers that have a key or an alarm, and no others.
CREATE TABLE worker (
    pool      INTEGER NOT NULL,
    shard     INTEGER NOT NULL,
    worker    BLOB NOT NULL,
    script    BLOB NOT NULL,
    name      BLOB NOT NULL,
    scheduled INTEGER,
    retries   INTEGER,
    due       INTEGER,
    PRIMARY KEY (pool, shard, worker)
) STRICT, WITHOUT ROWID;
CREATE INDEX worker_due ON worker (pool, shard, due) WHERE due IS NOT NULL;

-- With rowids: values may be large, and large rows make a poor index.
CREATE TABLE kv (
    pool   INTEGER NOT NULL,
    shard  INTEGER NOT NULL,
    worker BLOB NOT NULL,
    key    BLOB NOT NULL,
    value  BLOB NOT NULL,
    PRIMARY KEY (pool, shard, worker, key)
) STRICT;
