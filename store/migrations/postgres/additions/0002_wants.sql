-- Whether the pod claims shards when it is its turn. Others pass over those that do not; earlier versions never say that they do.

-- As in the addition before.
SET LOCAL lock_timeout = '1s';

ALTER TABLE portside.pod ADD COLUMN IF NOT EXISTS wants boolean NOT NULL DEFAULT false;
