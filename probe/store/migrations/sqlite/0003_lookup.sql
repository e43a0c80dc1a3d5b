ALTER TABLE provides_ecs ADD COLUMN lookup TEXT;
ALTER TABLE retrievals_ecs ADD COLUMN lookup TEXT;
