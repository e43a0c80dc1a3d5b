package scheduler

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite" // the driver, and its errors

	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/probe/store"
)

// Result codes of SQLite, https://sqlite.org/rescode.html.
const (
	sqliteBusy    = 5
	sqliteCorrupt = 11
	sqliteNotADB  = 26
)

// journal is the queue's file: the results that the database does not have yet. A
// result is on disk when put returns. One process at a time can use the file; the
// lock ends with the process.
type journal struct {
	path string
	name string // of the queue, in the database
	db   *sql.DB
}

// errQueueInUse is the error when another scheduler uses the queue's file.
var errQueueInUse = errors.New("another scheduler uses this file")

// openJournal opens the file, or creates it. A file that cannot be read is moved to
// the path aside, and a new one created; aside is "" if it could be read.
func openJournal(path string) (j *journal, aside string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", fmt.Errorf("queue: %w", err)
	}
	// SQLite would create it readable by everybody.
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, "", fmt.Errorf("queue: %w", err)
	} else if err := f.Close(); err != nil {
		return nil, "", fmt.Errorf("queue: %w", err)
	}
	j, err = tryJournal(path)
	if damaged(err) {
		if aside, err = setAside(path, "damaged"); err == nil {
			j, err = tryJournal(path)
		}
	}
	if sqliteCode(err) == sqliteBusy {
		err = errQueueInUse
	}
	if err != nil {
		return nil, aside, fmt.Errorf("queue %s: %w", path, err)
	}
	return j, aside, nil
}

func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

func damaged(err error) bool {
	code := sqliteCode(err)
	return code == sqliteCorrupt || code == sqliteNotADB
}

func tryJournal(path string) (*journal, error) {
	uri, err := paths.SQLite(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", uri+"?_pragma=busy_timeout(2000)&_pragma=locking_mode(EXCLUSIVE)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // the lock belongs to a connection
	j := &journal{path: path, db: db}
	if err := j.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return j, nil
}

func (j *journal) prepare() error {
	return j.tx(func(tx *sql.Tx) error {
		for _, statement := range []string{
			`CREATE TABLE IF NOT EXISTS queue (name TEXT NOT NULL)`,
			`CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY, result TEXT NOT NULL)`,
		} {
			if _, err := tx.Exec(statement); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`INSERT INTO queue (name) SELECT ? WHERE NOT EXISTS (SELECT * FROM queue)`, rand.Text()); err != nil {
			return err
		}
		return tx.QueryRow(`SELECT name FROM queue`).Scan(&j.name)
	})
}

func (j *journal) tx(do func(*sql.Tx) error) error {
	tx, err := j.db.Begin()
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// load returns the waiting results, by number, and how many rows are invalid.
func (j *journal) load() (waiting []*store.Result, bad int, err error) {
	rows, err := j.db.Query(`SELECT number, result FROM waiting ORDER BY number`)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var number int64
		var text string
		if err := rows.Scan(&number, &text); err != nil {
			return nil, 0, err
		}
		r := &store.Result{}
		if json.Unmarshal([]byte(text), r) != nil {
			bad++
			continue
		}
		r.Number = number
		waiting = append(waiting, r)
	}
	return waiting, bad, rows.Err()
}

// put adds a result, and removes those with numbers up to done.
func (j *journal) put(r *store.Result, done int64) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return j.tx(func(tx *sql.Tx) error {
		if done > 0 {
			if _, err := tx.Exec(`DELETE FROM waiting WHERE number <= ?`, done); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO waiting (number, result) VALUES (?, ?)`, r.Number, string(b))
		return err
	})
}

// done removes the results with numbers up to this one.
func (j *journal) done(number int64) error {
	_, err := j.db.Exec(`DELETE FROM waiting WHERE number <= ?`, number)
	return err
}

func (j *journal) close() error { return j.db.Close() }

// setAside moves the file away and returns its new path. Nobody may have it open.
func setAside(path, why string) (string, error) {
	to := fmt.Sprintf("%s.%s-%d", path, why, time.Now().UnixNano())
	for _, suffix := range []string{"-wal", ""} { // the write-ahead log belongs to the file
		if err := os.Rename(path+suffix, to+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return to, nil
}
