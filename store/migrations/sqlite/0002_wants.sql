-- Whether the pod claims shards when it is its turn. Others pass over those that do not.
ALTER TABLE pod ADD COLUMN wants INTEGER NOT NULL DEFAULT 0;
