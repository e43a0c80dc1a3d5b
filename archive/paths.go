package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names in an archive.
const (
	suffix      = ".parquet"
	openSuffix  = ".tmp"
	catalogName = "_catalog.json"
	sourcesName = "_sources" // what the archive was made of: a file for each source
	idLength    = 16         // hexadecimal digits of a source's ID, and of a checksum in a file's name
	nanosHour   = int64(time.Hour)
	maxFolder   = 200
)

// File is a whole file of an archive, as its path describes it. Its name is
// SOURCE-NUMBER-CHECKSUM.parquet.
type File struct {
	Path    string // in the archive's folder
	Table   string
	Monitor string // "" in the table unified
	Hour    time.Time
	Source  string
	Number  int
	Sum     string // first digits of the SHA-256 of the file
	Size    int64
}

// hourOf returns the number of the hour since 1970 of a time in nanoseconds.
func hourOf(nanos int64) int64 {
	h := nanos / nanosHour
	if nanos%nanosHour < 0 {
		h--
	}
	return h
}

// folder returns the folder of a partition, as Hive names it, in the archive's.
func folder(table, monitor string, hour int64) string {
	at := time.Unix(hour*3600, 0).UTC()
	parts := []string{table}
	if table != tables[unified].about().Name {
		parts = append(parts, monitorFolder(monitor))
	}
	return filepath.Join(append(parts, at.Format("date=2006-01-02"), at.Format("hour=15"))...)
}

// monitorFolder returns the name of a monitor's folder, in that of a table.
func monitorFolder(monitor string) string { return "monitor=" + escaped(monitor) }

// monitorFolder returns the name of the folder of the file's monitor.
func (f *File) monitorFolder() string {
	if f.Table == tables[unified].about().Name {
		return monitorFolder("")
	}
	return filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(f.Path))))
}

// escaped returns a monitor's name as a part of a path: what is not a letter, a
// digit, "-", "_" or an inner "." is %XX, as Hive and DuckDB read it. A name too long
// for a folder is cut, and ends in a part of its hash.
func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	out := b.String()
	if len(out) > maxFolder {
		sum := sha256.Sum256([]byte(name))
		out = strings.TrimRight(out[:maxFolder], "%0123456789ABCDEF") + "_" + hex.EncodeToString(sum[:8])
	}
	return out
}

// SourceID returns the ID of a source with that name, or content.
func SourceID(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return hex.EncodeToString(sum[:])[:idLength]
}

func isID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == idLength
}

// fileAt reads the description of a file from its path, and reports whether it is
// one of an archive.
func fileAt(path string) (f File, ok bool) {
	f.Path = path
	for part := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(path)), "/") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "monitor":
			name, err := url.PathUnescape(value)
			if err != nil {
				return f, false
			}
			f.Monitor = name
		case "date":
			at, err := time.Parse(time.DateOnly, value)
			if err != nil {
				return f, false
			}
			f.Hour = at
		case "hour":
			at, err := time.Parse("15", value)
			if err != nil || f.Hour.IsZero() {
				return f, false
			}
			f.Hour = f.Hour.Add(time.Duration(at.Hour()) * time.Hour)
		default:
			f.Table = part
		}
	}
	parts := strings.Split(strings.TrimSuffix(filepath.Base(path), suffix), "-")
	if !strings.HasSuffix(path, suffix) || len(parts) != 3 || !isID(parts[0]) || !isID(parts[2]) || f.Hour.IsZero() || tableNamed(f.Table) < 0 {
		return f, false
	}
	if _, err := fmt.Sscanf(parts[1], "%d", &f.Number); err != nil {
		return f, false
	}
	f.Source, f.Sum = parts[0], parts[2]
	return f, true
}

// tableNamed returns the place of a table, -1 for a name that is none.
func tableNamed(name string) tableAt {
	return tableAt(slices.IndexFunc(tables[:], func(t table) bool { return t.about().Name == name }))
}

// listing is what is in an archive's folder.
type listing struct {
	files   []File
	open    []string // files that are being written, or were left by a writer that was killed
	foreign []string // others in the folders of tables
}

// list finds the files of an archive, sorted by table, monitor, hour, source and
// number.
func list(dir string) (*listing, error) {
	if _, err := os.Stat(filepath.Join(dir, catalogName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("archive: %s has no %s: want the folder of an archive, which ipfsmon archive make or ipfsmon record --format parquet makes", dir, catalogName)
		}
		return nil, fmt.Errorf("archive: %w", err)
	}
	l := new(listing)
	for _, t := range tables {
		err := filepath.WalkDir(filepath.Join(dir, t.about().Name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			at, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			f, ok := fileAt(at)
			switch {
			case ok && d.Type().IsRegular():
				info, err := d.Info()
				if errors.Is(err, fs.ErrNotExist) {
					return nil // merged meanwhile
				}
				if err != nil {
					return err
				}
				f.Size = info.Size()
				l.files = append(l.files, f)
			case strings.HasSuffix(at, suffix+openSuffix):
				l.open = append(l.open, at)
			default:
				l.foreign = append(l.foreign, at)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
	}
	slices.SortStableFunc(l.files, compareFiles)
	return l, nil
}

func compareFiles(a, b File) int {
	for _, n := range []int{int(tableNamed(a.Table)) - int(tableNamed(b.Table)), strings.Compare(a.Monitor, b.Monitor), a.Hour.Compare(b.Hour),
		strings.Compare(a.Source, b.Source), a.Number - b.Number} {
		if n != 0 {
			return n
		}
	}
	return strings.Compare(a.Sum, b.Sum)
}

// place writes a small file whole or not at all.
func place(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".*"+openSuffix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no effect after the rename
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
