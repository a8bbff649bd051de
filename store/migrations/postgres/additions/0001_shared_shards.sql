-- What pods that share shards know of each other. Earlier versions leave all of it as it is.

-- Whoever asks for the tables waits for us while we wait for them: not for longer than leases bear.
SET LOCAL lock_timeout = '1s';

-- The version of the shard map at which the shard last got another owner, or none.
ALTER TABLE portside.shard ADD COLUMN IF NOT EXISTS changed bigint NOT NULL DEFAULT 0;

-- How others reach the pod, and what they find there: the revision of its code, the newest protocol it speaks, the SHA-256 of
-- its public key. All or nothing.
ALTER TABLE portside.pod ADD COLUMN IF NOT EXISTS address text;
ALTER TABLE portside.pod ADD COLUMN IF NOT EXISTS revision bigint;
ALTER TABLE portside.pod ADD COLUMN IF NOT EXISTS protocol integer;
ALTER TABLE portside.pod ADD COLUMN IF NOT EXISTS key bytea;

-- Grows with each claim, hand-over and release.
ALTER TABLE portside.pool ADD COLUMN IF NOT EXISTS map_version bigint NOT NULL DEFAULT 0;
