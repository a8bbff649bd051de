-- Whether the pod claims shards when it is its turn. Others pass over those that do not.
ALTER TABLE portside.pod ADD COLUMN wants boolean NOT NULL DEFAULT false;
