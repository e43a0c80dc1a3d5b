package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/influxdata/influxdb/tsdb/engine/tsm1"
)

// repair makes a store's folder fit to be opened after a process that was
// killed. InfluxDB 1.8 writes the MANIFEST of an index in place: killed in
// between, it leaves an empty or half file, and refuses its shard, reads and
// writes, for ever after. An index holds nothing that is not in the data, so
// it is taken away, together with fields.idx, whose absence tells InfluxDB to
// make both again from the data.
func repair(dir string, log *slog.Logger) error {
	if err := repairLogs(dir, log); err != nil {
		return err
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "data", "*", "*", "*", "index", "*", "MANIFEST"))
	if err != nil {
		return err
	}
	done := make(map[string]bool)
	for _, path := range manifests {
		index := filepath.Dir(filepath.Dir(path))
		if done[index] {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if json.Valid(b) {
			continue
		}
		done[index] = true
		log.Warn("store: an index was left half written, making it again", "shard", filepath.Dir(index))
		// fields.idx goes first: without it the index is made again, whether
		// or not this process lives to take it away.
		if err := os.Remove(filepath.Join(filepath.Dir(index), "fields.idx")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.RemoveAll(index); err != nil {
			return fmt.Errorf("take away a damaged index: %w", err)
		}
		// A shard without this folder would get an index in memory.
		if err := os.Mkdir(index, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// repairLogs cuts off the entry that a killed process was writing at the end of
// a shard's log. InfluxDB 1.8 cuts it off too, but only after it has looked
// where to continue: it leaves a hole there, and at the next start all that was
// written behind it is cut off with it, though it was answered for.
func repairLogs(dir string, log *slog.Logger) error {
	logs, err := filepath.Glob(filepath.Join(dir, "wal", "*", "*", "*", "_*.wal"))
	if err != nil {
		return err
	}
	for i, path := range logs { // sorted; only the last of a shard is written to again
		if i+1 < len(logs) && filepath.Dir(logs[i+1]) == filepath.Dir(path) {
			continue
		}
		if err := repairLog(path, log); err != nil {
			return fmt.Errorf("read a log: %w", err)
		}
	}
	return nil
}

func repairLog(path string, log *slog.Logger) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	r := tsm1.NewWALSegmentReader(f)
	defer r.Close()
	for r.Next() {
		if _, err := r.Read(); err != nil {
			log.Warn("store: removing a torn write at the end of a file: the process ended before it acknowledged the write", "file", path, "whole", r.Count(), "err", err)
			return f.Truncate(r.Count())
		}
	}
	return nil
}
