package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// repair makes a store's folder fit to be opened after a process that was
// killed. InfluxDB 1.8 writes the MANIFEST of an index in place: killed in
// between, it leaves an empty or half file, and refuses its shard, reads and
// writes, for ever after. An index holds nothing that is not in the data, so
// it is taken away, together with fields.idx, whose absence tells InfluxDB to
// make both again from the data.
func repair(dir string, log *slog.Logger) error {
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
