-- parsec has SMALLINT, which no port above 32767 fits into.
ALTER TABLE nodes_ecs
    ALTER COLUMN server_port TYPE INTEGER,
    ALTER COLUMN peer_port TYPE INTEGER;
