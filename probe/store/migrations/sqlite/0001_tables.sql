-- The same as for PostgreSQL. Lists and documents are JSON, times are text in
-- UTC with microseconds, so that they sort.
CREATE TABLE schedulers_ecs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    fleets       TEXT NOT NULL,
    dependencies TEXT NOT NULL,
    created_at   TEXT NOT NULL
);
CREATE TABLE nodes_ecs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    cpu            INTEGER NOT NULL,
    memory         INTEGER NOT NULL,
    peer_id        TEXT    NOT NULL,
    region         TEXT    NOT NULL,
    cmd            TEXT    NOT NULL,
    fleet          TEXT    NOT NULL,
    dependencies   TEXT    NOT NULL,
    ip_address     TEXT    NOT NULL,
    server_port    INTEGER NOT NULL,
    peer_port      INTEGER NOT NULL,
    last_heartbeat TEXT,
    offline_since  TEXT,
    created_at     TEXT    NOT NULL
);
CREATE TABLE provides_ecs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    scheduler_id INTEGER NOT NULL REFERENCES schedulers_ecs ON DELETE CASCADE,
    node_id      INTEGER NOT NULL REFERENCES nodes_ecs ON DELETE CASCADE,
    rt_size      INTEGER NOT NULL,
    duration     REAL    NOT NULL,
    cid          TEXT    NOT NULL,
    error        TEXT,
    created_at   TEXT    NOT NULL,
    step         TEXT    NOT NULL
);
CREATE TABLE retrievals_ecs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    scheduler_id INTEGER NOT NULL REFERENCES schedulers_ecs ON DELETE CASCADE,
    node_id      INTEGER NOT NULL REFERENCES nodes_ecs ON DELETE CASCADE,
    rt_size      INTEGER NOT NULL,
    duration     REAL    NOT NULL,
    cid          TEXT    NOT NULL,
    error        TEXT,
    created_at   TEXT    NOT NULL
);
CREATE INDEX ipfsmon_provides_created_at ON provides_ecs (created_at);
CREATE INDEX ipfsmon_retrievals_created_at ON retrievals_ecs (created_at);
