package unify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/paths"
)

// Columns are the columns of the field's CSV, in its order.
var Columns = []string{"monitor_id", "matched_to_monitor_id", "match_time_diff_ms", "global_duplicate_time_diff_ms", "message_id", "message_type",
	"timestamp_seconds", "timestamp_subsec_milliseconds", "peer_id", "address", "priority", "entry_type", "cid", "duplicate_status",
	"sliding_window_smallest_match", "secs_since_earlier_message", "upgrades_earlier_request"}

// AppendCSV appends the entry as a row with the columns of Columns. A value that
// is absent is empty.
func (e *Entry) AppendCSV(dst []byte) []byte {
	number := func(n int64) {
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(dst, ',')
	}
	optional := func(is bool, n int64) {
		if is {
			dst = strconv.AppendInt(dst, n, 10)
		}
		dst = append(dst, ',')
	}
	number(int64(e.Monitor))
	optional(e.Matched, int64(e.MatchedTo))
	optional(e.Matched, e.MatchAfter.Milliseconds())
	optional(e.Duplicate, e.DuplicateAfter.Milliseconds())
	number(e.MessageID)
	number(int64(e.Message))
	number(e.Time / int64(time.Second))
	number(e.Time % int64(time.Second) / int64(time.Millisecond))
	dst = cidtext.AppendPeer(dst, e.Peer)
	dst = append(dst, ',')
	dst = append(appendQuoted(dst, e.Address), ',')
	number(int64(e.Priority))
	number(int64(e.Type))
	if e.CID.Defined() {
		dst = cidtext.AppendCID(dst, e.CID)
	}
	dst = append(dst, ',')
	number(int64(e.Repeats))
	number(int64(e.Window))
	number(int64(e.Since))
	dst = strconv.AppendBool(dst, e.Upgrades)
	return append(dst, '\n')
}

// appendQuoted appends a cell, in quotes if it needs them.
func appendQuoted(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, "\",\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}

// rowsPerFile is after how many rows CSVFiles begins another file, as soon as
// the message is complete.
const rowsPerFile = 100_000

// flushBytes is how much CSVFiles collects before it writes.
const flushBytes = 64 << 10

// CSVFiles writes entries to files of a folder, wl-<message ID>.csv or .csv.gz:
// each has the columns' names in its first row and about 100,000 more. The name
// has the ID of the first message in nine digits, so that the order of the names
// is that of the messages. A file gets its name when it is complete; until then
// the name ends in .tmp. It is for one goroutine.
type CSVFiles struct {
	dir  string
	lock *os.File // the folder; nil after Close
	gzip bool

	Rows  uint64   // written, without the first rows
	Files []string // that are complete

	path    string // of the open file
	file    *os.File
	zip     *gzip.Writer
	rows    int // of the open file
	message int64
	buf     []byte
}

// NewCSVFiles returns a writer to a folder, which it makes if needed. It is an
// error if the folder has files of an earlier run, or another writer is at it.
func NewCSVFiles(dir string, compressed bool) (_ *CSVFiles, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	// Where a folder cannot be locked, nothing is known of others.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("fleet: %s: another program writes there: want a folder of its own", dir)
	}
	for _, pattern := range []string{"wl-*.csv", "wl-*.csv.gz"} {
		if old := paths.Glob(dir, pattern); len(old) > 0 {
			return nil, fmt.Errorf("fleet: %s is there already: want a folder without files of an earlier run", old[0])
		}
	}
	return &CSVFiles{dir: dir, lock: lock, gzip: compressed}, nil
}

// Add writes an entry.
func (f *CSVFiles) Add(e *Entry) error {
	if f.file != nil && f.rows >= rowsPerFile && e.MessageID != f.message {
		if err := f.finish(); err != nil {
			return err
		}
	}
	if f.file == nil {
		if err := f.begin(e.MessageID); err != nil {
			return err
		}
	}
	f.buf = e.AppendCSV(f.buf)
	f.message = e.MessageID
	f.rows++
	f.Rows++
	if len(f.buf) < flushBytes {
		return nil
	}
	return f.flush()
}

func (f *CSVFiles) begin(message int64) (err error) {
	suffix := ".csv"
	if f.gzip {
		suffix += ".gz"
	}
	f.path = filepath.Join(f.dir, fmt.Sprintf("wl-%09d%s", message, suffix))
	if f.file, err = os.OpenFile(f.path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if f.gzip && f.zip == nil {
		f.zip = gzip.NewWriter(f.file)
	} else if f.gzip {
		f.zip.Reset(f.file)
	}
	f.rows, f.buf = 0, append(append(f.buf[:0], strings.Join(Columns, ",")...), '\n')
	return nil
}

func (f *CSVFiles) flush() (err error) {
	if f.gzip {
		_, err = f.zip.Write(f.buf)
	} else {
		_, err = f.file.Write(f.buf)
	}
	f.buf = f.buf[:0]
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	return nil
}

// finish completes the open file.
func (f *CSVFiles) finish() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	err := f.flush()
	f.file = nil
	if f.gzip {
		err = errors.Join(err, f.zip.Close())
	}
	if err == nil {
		err = file.Sync() // before the name, which means that it is complete
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("fleet: %s.tmp: %w", f.path, err)
	}
	if err := errors.Join(os.Rename(f.path+".tmp", f.path), f.lock.Sync()); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	f.Files = append(f.Files, f.path)
	return nil
}

// Close completes the open file. It may be called more than once.
func (f *CSVFiles) Close() error {
	err := f.finish()
	if f.lock != nil {
		f.lock.Close() // ends the lock
		f.lock = nil
	}
	return err
}
