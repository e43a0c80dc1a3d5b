package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Source is what an archive was made of: a file of a recording, an hour of a store,
// a recorder's hour. Its note in the archive says that all of it is there.
type Source struct {
	ID      string `json:"id"`
	Name    string `json:"name"` // for people
	Monitor string `json:"monitor,omitempty"`
	Rows    int64  `json:"rows"`
	Skipped int    `json:"skipped,omitempty"` // lines or points that are no events
	Damaged string `json:"damaged,omitempty"` // why not all of the source could be read
}

func sourcePath(dir, id string) string { return filepath.Join(dir, sourcesName, id+".json") }

// Made reports whether an archive has all of a source.
func Made(dir, id string) (bool, error) {
	_, err := os.Stat(sourcePath(dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("archive: %w", err)
	}
	return true, nil
}

// Commit finishes all files and notes that the archive has the source.
func (w *Writer) Commit(s Source) error {
	if err := w.Close(); err != nil {
		return err
	}
	s.ID, s.Monitor, s.Rows = w.Source, w.Monitor, w.Rows
	b, err := json.Marshal(s)
	if err == nil {
		_, err = w.note.Write(append(b, '\n'))
	}
	if err == nil {
		err = w.note.Sync()
	}
	path := sourcePath(w.dir, s.ID)
	if err == nil {
		err = os.Rename(w.note.Name(), path)
	}
	if err != nil {
		w.unlock()
		return fmt.Errorf("archive: note of the source: %w", err)
	}
	w.note.Close() // it is on the disk
	w.note = nil
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("archive: note of the source: %w", err)
	}
	return nil
}

// Sources returns the notes of an archive, those that cannot be read left out.
func Sources(dir string) ([]Source, error) {
	entries, err := os.ReadDir(filepath.Join(dir, sourcesName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("archive: %w", err)
	}
	var out []Source
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !isID(id) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, sourcesName, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		var s Source
		if json.Unmarshal(b, &s) == nil && s.ID == id {
			out = append(out, s)
		}
	}
	return out, nil
}
