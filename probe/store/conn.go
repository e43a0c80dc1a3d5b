package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// statementTimeout bounds a statement whose context has no deadline, and the wait
// for a connection.
const statementTimeout = 30 * time.Second

// row, rows and conn are the interfaces to both databases.
type row interface{ Scan(into ...any) error }

type rows interface {
	row
	Next() bool
	Err() error
	Close()
}

// conn runs statements; exec may be given several when there are no arguments.
type conn interface {
	exec(ctx context.Context, statement string, args ...any) error
	// query calls each for every row.
	query(ctx context.Context, each func(row) error, statement string, args ...any) error
	// tx runs do in a transaction, which it commits if do returns nil.
	tx(ctx context.Context, do func(conn) error) error
	close() error
}

// one queries a single row.
func one(ctx context.Context, c conn, into any, statement string, args ...any) error {
	n := 0
	err := c.query(ctx, func(r row) error { n++; return r.Scan(into) }, statement, args...)
	if err == nil && n == 0 {
		err = errors.New("no answer")
	}
	return err
}

func drain(r rows, each func(row) error) error {
	defer r.Close()
	for r.Next() {
		if err := each(r); err != nil {
			return err
		}
	}
	return r.Err()
}

// lite is SQLite.
type lite struct {
	db *sql.DB
	in interface { // db or a transaction of it
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	}
}

type liteRows struct{ *sql.Rows }

func (r liteRows) Close() { _ = r.Rows.Close() } // Err returns the error

func (c lite) exec(ctx context.Context, statement string, args ...any) error {
	_, err := c.in.ExecContext(ctx, statement, args...)
	return err
}

func (c lite) query(ctx context.Context, each func(row) error, statement string, args ...any) error {
	r, err := c.in.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	return drain(liteRows{r}, each)
}

func (c lite) tx(ctx context.Context, do func(conn) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(lite{c.db, tx}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (c lite) close() error { return c.db.Close() }

// postgres is one connection to PostgreSQL, which is reopened when it breaks. A
// probe needs no more for its one or two statements per second.
type postgres struct {
	config *pgx.ConnConfig

	turn chan struct{} // cap 1; holding an element means to own the connection
	once sync.Once
	done chan struct{}
	c    *pgx.Conn // nil: not connected
}

func newPostgres(config *pgx.ConnConfig) *postgres {
	return &postgres{config: config, turn: make(chan struct{}, 1), done: make(chan struct{})}
}

var errClosed = errors.New("the store is closed")

// with runs do with the connection.
func (p *postgres) with(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-p.done:
		return errClosed
	default:
	}
	if p.c == nil || p.c.IsClosed() {
		c, err := pgx.ConnectConfig(ctx, p.config)
		if err != nil {
			return err
		}
		p.c = c
	}
	return do(ctx, p.c)
}

func (p *postgres) exec(ctx context.Context, statement string, args ...any) error {
	return p.with(ctx, func(ctx context.Context, c *pgx.Conn) error { return pgExec(ctx, c, statement, args) })
}

func (p *postgres) query(ctx context.Context, each func(row) error, statement string, args ...any) error {
	return p.with(ctx, func(ctx context.Context, c *pgx.Conn) error { return pgQuery(ctx, c, each, statement, args) })
}

func (p *postgres) tx(ctx context.Context, do func(conn) error) error {
	return p.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return do(pgTx{tx}) })
	})
}

func (p *postgres) close() (err error) {
	p.once.Do(func() {
		close(p.done)
		p.turn <- struct{}{} // waits for a running statement
		if p.c != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err = p.c.Close(ctx)
		}
		<-p.turn
	})
	return err
}

// pgTx is a transaction.
type pgTx struct{ pgx.Tx }

func (t pgTx) exec(ctx context.Context, statement string, args ...any) error {
	return pgExec(ctx, t.Tx, statement, args)
}

func (t pgTx) query(ctx context.Context, each func(row) error, statement string, args ...any) error {
	return pgQuery(ctx, t.Tx, each, statement, args)
}

func (t pgTx) tx(context.Context, func(conn) error) error {
	return fmt.Errorf("a transaction in a transaction: want one at a time")
}

func (t pgTx) close() error { return nil }

type pgRunner interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

func pgExec(ctx context.Context, c pgRunner, statement string, args []any) error {
	return pgQuery(ctx, c, func(row) error { return nil }, statement, args)
}

func pgQuery(ctx context.Context, c pgRunner, each func(row) error, statement string, args []any) error {
	r, err := c.Query(ctx, statement, args...)
	if err != nil {
		return err
	}
	return drain(r, each)
}
