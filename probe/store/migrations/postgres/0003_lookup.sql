-- What a lookup did, for those who ask why it was slow.
ALTER TABLE provides_ecs ADD COLUMN IF NOT EXISTS lookup JSONB;
ALTER TABLE retrievals_ecs ADD COLUMN IF NOT EXISTS lookup JSONB;
