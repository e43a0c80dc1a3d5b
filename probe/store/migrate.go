package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// lockNumber is the number of the PostgreSQL advisory lock for migrations: servers
// and schedulers may start at the same time.
const lockNumber = 0x1bf5307

// migrate brings the tables up to date. Each numbered file is applied and recorded
// in one transaction, so that an interrupted one is applied again.
func (s *Store) migrate(ctx context.Context) error {
	kind := "sqlite"
	if s.pg {
		kind = "postgres"
	}
	if err := s.parsec(ctx); err != nil {
		return err
	}
	files, err := migrations.ReadDir(path.Join("migrations", kind))
	if err != nil {
		return err
	}
	for _, f := range files { // sorted by name
		number, err := strconv.Atoi(strings.SplitN(f.Name(), "_", 2)[0])
		if err != nil {
			return fmt.Errorf("migration %s: want a name that begins with a number", f.Name())
		}
		statements, err := migrations.ReadFile(path.Join("migrations", kind, f.Name()))
		if err != nil {
			return err
		}
		if err := s.apply(ctx, number, string(statements)); err != nil {
			return fmt.Errorf("migration %s: %w", f.Name(), err)
		}
	}
	s.step, err = s.hasStep(ctx)
	return err
}

// look checks the tables and changes nothing.
func (s *Store) look(ctx context.Context) error {
	if !s.pg {
		ours := 0
		if err := one(ctx, s.db, &ours, `SELECT count(*) FROM sqlite_master WHERE name = 'ipfsmon_migrations'`); err != nil {
			return err
		}
		if ours == 0 {
			return errors.New("the tables are missing: want the file of a probe's database")
		}
	}
	var err error
	s.step, err = s.hasStep(ctx)
	return err
}

// parsec reads the version of parsec's own migrations, which we never change.
func (s *Store) parsec(ctx context.Context) error {
	if !s.pg {
		return nil
	}
	there := false
	if err := one(ctx, s.db, &there, `SELECT to_regclass('schema_migrations') IS NOT NULL`); err != nil || !there {
		return err
	}
	var version int
	var dirty bool
	if err := s.db.query(ctx, func(r row) error { return r.Scan(&version, &dirty) }, `SELECT version, dirty FROM schema_migrations`); err != nil {
		return fmt.Errorf("read schema_migrations: %w", err)
	}
	s.version = version
	if dirty {
		return fmt.Errorf("parsec's migration %d was interrupted: finish or undo it by hand, then set dirty to false: %w", version, errDirty)
	}
	return nil
}

func (s *Store) apply(ctx context.Context, number int, statements string) error {
	return s.db.tx(ctx, func(tx conn) error {
		if s.pg {
			if err := tx.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockNumber); err != nil {
				return err
			}
		}
		if err := tx.exec(ctx, `CREATE TABLE IF NOT EXISTS ipfsmon_migrations (version INTEGER PRIMARY KEY)`); err != nil {
			return err
		}
		done := 0
		if err := one(ctx, tx, &done, s.q(`SELECT count(*) FROM ipfsmon_migrations WHERE version = $1`), number); err != nil || done > 0 {
			return err
		}
		for _, statement := range strings.Split(statements, ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if err := tx.exec(ctx, statement); err != nil {
				return err
			}
		}
		return tx.exec(ctx, s.q(`INSERT INTO ipfsmon_migrations (version) VALUES ($1)`), number)
	})
}

// hasStep reports whether provides_ecs has a column step. A database of parsec from
// before its migration 6 has none, and we do not add it: parsec's migration will.
func (s *Store) hasStep(ctx context.Context) (bool, error) {
	if !s.pg {
		return true, nil
	}
	n := 0
	err := one(ctx, s.db, &n, `SELECT count(*) FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = 'provides_ecs' AND column_name = 'step'`)
	return n > 0, err
}

// Steps reports whether each step of a provide is a row; otherwise a provide is one
// row.
func (s *Store) Steps() bool { return s.step }
