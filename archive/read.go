package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/ipfsmon/ipfsmon/event"
)

// Item is what an archive has of one moment: an event, or a gap.
type Item struct {
	Event *event.Event // nil for a gap
	Parts bool         // Event is one entry of a message of which no more is known
	Gap   *Gap
}

// Archive is an archive that is read. Its files are those that it had when it was
// opened.
type Archive struct {
	Dir   string
	Files []File

	// Damaged is called with the error of each file that is left out, if not nil.
	Damaged func(error)
	// Progress is called with how many files of how many were read, if not nil.
	Progress func(done, total int)
}

// Open lists the files of an archive. Files that were merged into others and not
// yet removed are left out.
func Open(dir string) (*Archive, error) {
	l, err := list(dir)
	if err != nil {
		return nil, err
	}
	return &Archive{Dir: dir, Files: without(l.files, replaced(dir, l.files))}, nil
}

// without returns the files that are not in a set of paths.
func without(files []File, paths map[string]bool) []File {
	return slices.DeleteFunc(slices.Clone(files), func(f File) bool { return paths[f.Path] })
}

// replaced returns the paths of the files that others were made of.
func replaced(dir string, files []File) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		if f.Source != mergedID(f) {
			continue
		}
		meta, err := metadata(filepath.Join(dir, f.Path))
		if err != nil {
			continue // it is damaged: its inputs still count
		}
		for name := range strings.FieldsSeq(meta[keyMerged]) {
			out[filepath.Join(filepath.Dir(f.Path), filepath.Base(name))] = true
		}
	}
	return out
}

// metadata returns what a file says about itself.
func metadata(path string) (map[string]string, error) {
	out := map[string]string{}
	err := openParquet(path, func(in *parquet.File) error {
		for _, key := range []string{keyVersion, keyTable, keyMonitor, keySorted, keyMerged} {
			if v, ok := in.Lookup(key); ok {
				out[key] = v
			}
		}
		return nil
	})
	return out, err
}

// Monitors returns the names of the archive's monitors, sorted.
func (a *Archive) Monitors() []string {
	var out []string
	for _, f := range a.Files {
		if f.Table != "unified" {
			out = append(out, f.Monitor)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Read calls each with what the archive has of a monitor, in the order of time. An
// event is valid until each returns. A damaged file is reported to Damaged, and left
// out.
func (a *Archive) Read(ctx context.Context, monitor string, each func(Item) error) error {
	var files []File
	for _, f := range a.Files {
		if f.Monitor == monitor && f.Table != "unified" {
			files = append(files, f)
		}
	}
	return a.byHour(ctx, files, func(hour []File) error {
		return a.readHour(ctx, hour, each)
	})
}

// ReadUnified calls each with the rows of the unified trace, in the order of time.
func (a *Archive) ReadUnified(ctx context.Context, each func(*Unified) error) error {
	var files []File
	for _, f := range a.Files {
		if f.Table == "unified" {
			files = append(files, f)
		}
	}
	return a.byHour(ctx, files, func(hour []File) error {
		s, err := a.merged(hour, unified)
		if err != nil {
			return err
		}
		defer s.close()
		for ; s.some; s.next() {
			if err := each(current[Unified](s)); err != nil {
				return err
			}
		}
		return nil
	})
}

// byHour calls each with the files of each hour, those of one after the other.
func (a *Archive) byHour(ctx context.Context, files []File, each func([]File) error) error {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return a.Hour.Compare(b.Hour) })
	for done := 0; done < len(files); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := done + 1
		for n < len(files) && files[n].Hour.Equal(files[done].Hour) {
			n++
		}
		if err := each(files[done:n]); err != nil {
			return err
		}
		done = n
		if a.Progress != nil {
			a.Progress(done, len(files))
		}
	}
	return nil
}

func (a *Archive) report(err error) {
	if a.Damaged != nil {
		a.Damaged(err)
	}
}

// mergedRows are the rows of several files of one table, in their order.
type mergedRows struct {
	a     *Archive
	files []rows
	at    []order
	some  bool // there is a current row
	least int  // the file that it is of
}

// merged opens the files of a table among those of an hour. It checks their
// checksums first.
func (a *Archive) merged(hour []File, of tableAt) (*mergedRows, error) {
	m := &mergedRows{a: a}
	for _, f := range hour {
		if f.Table != tables[of].about().Name {
			continue
		}
		var r rows
		err := checkSum(a.Dir, f)
		if err == nil {
			r, err = tables[of].openRows(filepath.Join(a.Dir, f.Path))
		}
		if isDamaged(err) {
			a.report(err)
			continue
		}
		if err != nil {
			m.close()
			return nil, err
		}
		m.files, m.at = append(m.files, r), append(m.at, order{})
		m.move(len(m.files) - 1)
	}
	m.choose()
	return m, nil
}

func isDamaged(err error) bool {
	var d *DamagedError
	return errors.As(err, &d)
}

// move moves a file to its next row. A file that has none is closed.
func (m *mergedRows) move(i int) {
	at, err := m.files[i].next()
	if err == nil {
		m.at[i] = at
		return
	}
	if err != io.EOF {
		m.a.report(err)
	}
	m.files[i].Close()
	m.files[i] = nil
}

func (m *mergedRows) choose() {
	m.some = false
	for i, f := range m.files {
		if f != nil && (!m.some || m.at[i].compare(m.at[m.least]) < 0) {
			m.some, m.least = true, i
		}
	}
}

func (m *mergedRows) next() {
	m.move(m.least)
	m.choose()
}

// place of the current row.
func (m *mergedRows) place() order { return m.at[m.least] }

func (m *mergedRows) close() {
	for _, f := range m.files {
		if f != nil {
			f.Close()
		}
	}
}

// current returns the current row.
func current[T any, P row[T]](m *mergedRows) P { return m.files[m.least].(*fileRows[T, P]).current() }

// readHour reads the tables of an hour at once, and puts messages together again.
func (a *Archive) readHour(ctx context.Context, hour []File, each func(Item) error) error {
	var in [tableCount]*mergedRows
	defer func() {
		for _, s := range in {
			if s != nil {
				s.close()
			}
		}
	}()
	for t := range in {
		s, err := a.merged(hour, tableAt(t))
		if err != nil {
			return err
		}
		in[t] = s
	}
	d := newDecoder()
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		first := tableCount
		for t := range in {
			if in[t].some && (first == tableCount || in[t].place().compare(in[first].place()) < 0) {
				first = tableAt(t)
			}
		}
		if first == tableCount {
			return nil
		}
		item, err := d.item(&in, first)
		if err == nil {
			err = each(item)
		} else {
			a.report(fmt.Errorf("archive: a row of %s is left out: %w", tables[first].about().Name, err))
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// Is reports whether a folder is an archive.
func Is(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, catalogName))
	return err == nil && info.Mode().IsRegular()
}
