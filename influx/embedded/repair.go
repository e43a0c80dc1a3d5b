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

// repair prepares a store's folder for opening after its process was killed. InfluxDB 1.8
// writes the MANIFEST of an index in place: killed during the write, it leaves an empty or
// partial file, and from then on refuses to read or write that shard. An index holds nothing
// that is not in the data, so it is removed, together with fields.idx, whose absence makes
// InfluxDB rebuild both from the data.
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
		log.Warn("store: an index was left half written, rebuilding it", "shard", filepath.Dir(index))
		// fields.idx is removed first: without it InfluxDB rebuilds the index, even if this
		// process dies before it removes the index.
		if err := os.Remove(filepath.Join(filepath.Dir(index), "fields.idx")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.RemoveAll(index); err != nil {
			return fmt.Errorf("remove a damaged index: %w", err)
		}
		// A shard without this folder would get an index in memory.
		if err := os.Mkdir(index, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// repairLogs truncates the torn entry that a killed process left at the end of a shard's WAL.
// InfluxDB 1.8 truncates it too, but only after it has chosen the offset to continue at: it
// leaves a hole there, and the next start truncates everything written after the hole, although
// those writes were acknowledged.
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
			log.Warn("store: removing a torn write at the end of a file: the process ended before it acknowledged the write", "file", path, "intact", r.Count(), "err", err)
			return f.Truncate(r.Count())
		}
	}
	return nil
}
