-- The tables of parsec as its migration 6 leaves them. In a database of parsec
-- they are there already and stay as they are.
CREATE TABLE IF NOT EXISTS schedulers_ecs (
    id           INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fleets       TEXT[]      NOT NULL,
    dependencies JSONB       NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS nodes_ecs (
    id             INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cpu            INT         NOT NULL,
    memory         INT         NOT NULL,
    peer_id        TEXT        NOT NULL,
    region         TEXT        NOT NULL,
    cmd            TEXT        NOT NULL,
    fleet          TEXT        NOT NULL,
    dependencies   JSONB       NOT NULL,
    ip_address     INET        NOT NULL,
    server_port    INTEGER     NOT NULL,
    peer_port      INTEGER     NOT NULL,
    last_heartbeat TIMESTAMPTZ,
    offline_since  TIMESTAMPTZ,
    created_at     TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS provides_ecs (
    id           INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scheduler_id INT         NOT NULL REFERENCES schedulers_ecs ON DELETE CASCADE,
    node_id      INT         NOT NULL REFERENCES nodes_ecs ON DELETE CASCADE,
    rt_size      INT         NOT NULL,
    duration     FLOAT       NOT NULL,
    cid          TEXT        NOT NULL,
    error        TEXT,
    created_at   TIMESTAMPTZ NOT NULL,
    step         TEXT        NOT NULL
);
CREATE TABLE IF NOT EXISTS retrievals_ecs (
    id           INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scheduler_id INT         NOT NULL REFERENCES schedulers_ecs ON DELETE CASCADE,
    node_id      INT         NOT NULL REFERENCES nodes_ecs ON DELETE CASCADE,
    rt_size      INT         NOT NULL,
    duration     FLOAT       NOT NULL,
    cid          TEXT        NOT NULL,
    error        TEXT,
    created_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS ipfsmon_provides_created_at ON provides_ecs (created_at);
CREATE INDEX IF NOT EXISTS ipfsmon_retrievals_created_at ON retrievals_ecs (created_at);
