CREATE TABLE ipfsmon_queues (
    queue   TEXT    PRIMARY KEY,
    written INTEGER NOT NULL
);
