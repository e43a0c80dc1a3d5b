package store

import "context"

// AddQueue registers a scheduler's queue, of which nothing is written yet. It does
// not change one that is registered.
func (s *Store) AddQueue(ctx context.Context, queue string) error {
	err := s.db.exec(ctx, s.q(`INSERT INTO ipfsmon_queues (queue, written) VALUES ($1, 0) ON CONFLICT (queue) DO NOTHING`), queue)
	return wrap("add a queue", err)
}

// Queue returns the number of the last result of a queue that was written; known
// is false if the queue is not registered.
func (s *Store) Queue(ctx context.Context, queue string) (written int64, known bool, err error) {
	written, known, err = s.written(ctx, s.db, queue, "")
	return written, known, wrap("read how far a queue is written", err)
}

func (s *Store) written(ctx context.Context, c conn, queue, lock string) (n int64, known bool, err error) {
	err = c.query(ctx, func(r row) error { known = true; return r.Scan(&n) },
		s.q(`SELECT written FROM ipfsmon_queues WHERE queue = $1`+lock), queue)
	return n, known, err
}

// AddQueued writes results of a queue in the order of their numbers, all or none.
// It skips those that are already written: a scheduler may have been killed after
// it wrote them and before it got the answer.
func (s *Store) AddQueued(ctx context.Context, queue string, results ...*Result) error {
	lock := ""
	if s.pg {
		lock = " FOR UPDATE" // waits for a killed scheduler's transaction that is still running
	}
	err := s.db.tx(ctx, func(tx conn) error {
		written, _, err := s.written(ctx, tx, queue, lock)
		if err != nil {
			return err
		}
		last := written
		for _, r := range results {
			if r.Number <= last {
				continue
			}
			if err := s.add(ctx, tx, r); err != nil {
				return err
			}
			last = r.Number
		}
		if last == written {
			return nil
		}
		return tx.exec(ctx, s.q(`INSERT INTO ipfsmon_queues (queue, written) VALUES ($1, $2)
			ON CONFLICT (queue) DO UPDATE SET written = excluded.written`), queue, last)
	})
	return wrap("add results", err)
}
