package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/parquet-go/parquet-go"
)

// mergedID is the source ID of files that were merged, by table, monitor and hour.
func mergedID(f File) string {
	return SourceID("merged", f.Table, f.Monitor, f.Hour.Format("2006-01-02T15"))
}

// Merged is what a merge did.
type Merged struct {
	Partitions int      // hours of a table whose files were merged
	Before     int      // files of these, which are gone
	Bytes      int64    // of the files before, less those after
	Removed    []string // files that were left by a writer or a merge that was killed
	Damaged    []error  // files that were left as they are
}

// Merge merges the files of each table, monitor and hour into one, in the order of
// time. Files of sources that are not all there yet, and damaged ones, stay as they
// are. A merge that is interrupted loses nothing and shows nothing twice to Open; the
// next one removes what it left. One merge at a time works on an archive.
func Merge(ctx context.Context, dir string, progress func(done, total int)) (m Merged, err error) {
	l, err := list(dir)
	if err != nil {
		return m, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, catalogName), os.O_RDWR, 0)
	if err != nil {
		return m, fmt.Errorf("archive: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return m, fmt.Errorf("archive: %s: another merge works there: %w", dir, err)
	}
	if m.Removed, err = removeOpen(dir, l); err != nil {
		return m, err
	}
	gone := replaced(dir, l.files)
	for _, f := range l.files {
		if gone[f.Path] {
			if err := os.Remove(filepath.Join(dir, f.Path)); err != nil {
				return m, fmt.Errorf("archive: %w", err)
			}
			m.Removed = append(m.Removed, f.Path)
		}
	}
	files := without(l.files, gone)
	for done := 0; done < len(files); {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		n := done + 1
		for n < len(files) && filepath.Dir(files[n].Path) == filepath.Dir(files[done].Path) {
			n++
		}
		if err := m.partition(dir, files[done:n]); err != nil {
			return m, err
		}
		if done = n; progress != nil {
			progress(done, len(files))
		}
	}
	return m, nil
}

// partition merges the files of one folder.
func (m *Merged) partition(dir string, files []File) error {
	var in []File
	number := 0
	for _, f := range files {
		if f.Source == mergedID(f) {
			number = max(number, f.Number+1)
		} else if made, err := Made(dir, f.Source); err != nil {
			return err
		} else if !made {
			continue
		}
		if err := checkSum(dir, f); err != nil {
			if !isDamaged(err) {
				return err
			}
			m.Damaged = append(m.Damaged, err)
			continue
		}
		in = append(in, f)
	}
	if len(in) < 2 {
		return nil
	}
	size, err := tables[tableNamed(in[0].Table)].merge(dir, in, number)
	if isDamaged(err) {
		m.Damaged = append(m.Damaged, err)
		return nil
	}
	if err != nil {
		return err
	}
	m.Partitions++
	m.Before += len(in)
	m.Bytes -= size
	for _, f := range in {
		m.Bytes += f.Size
		if err := os.Remove(filepath.Join(dir, f.Path)); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	return syncDir(filepath.Join(dir, filepath.Dir(in[0].Path)))
}

// merge writes the rows of files into a new one, and returns its size. The new file
// names those that it replaces, so that a reader never counts both.
func (t *tableOf[T, P]) merge(dir string, files []File, number int) (size int64, err error) {
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f.Path))
	}
	a := &Archive{Dir: dir}
	var failed error
	a.Damaged = func(err error) { failed = errors.Join(failed, err) }
	rows, err := a.merged(files, tableNamed(t.Name))
	if err != nil {
		return 0, err
	}
	defer rows.close()
	first := files[0]
	out, err := create(t, filepath.Join(dir, filepath.Dir(first.Path)), fmt.Sprintf("%s-%04d", mergedID(first), number), first.Monitor,
		parquet.KeyValueMetadata(keyMerged, strings.Join(names, " ")))
	if err != nil {
		return 0, err
	}
	batch := make([]T, 0, readBatch)
	for rows.some {
		batch = append(batch, *current[T, P](rows))
		rows.next()
		if len(batch) == cap(batch) || !rows.some {
			if err := out.write(batch); err != nil {
				out.abort()
				return 0, err
			}
			batch = batch[:0]
		}
	}
	if failed != nil { // the checksums were right, and the rows cannot be read: nothing is replaced
		out.abort()
		return 0, failed
	}
	path, err := out.finish()
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("archive: %w", err)
	}
	return info.Size(), nil
}
