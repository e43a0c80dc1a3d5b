-- How far the queue of each scheduler is written. It changes with the results
-- themselves, so that one that is brought twice is there once.
CREATE TABLE IF NOT EXISTS ipfsmon_queues (
    queue   TEXT   PRIMARY KEY,
    written BIGINT NOT NULL
);
