package archive

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"
)

// Info is what an archive has.
type Info struct {
	First, Last time.Time
	Files       int
	Bytes       int64
	Rows        map[string]int64 // by table
	Sizes       map[string]int64 // bytes, by table
	Monitors    []MonitorInfo
	Open        []string // files that are not finished
	Foreign     []string // files of others in the tables' folders
	Leftover    []string // files that were merged into others and are to be removed
	Damaged     []error
	Sums        []File // all files that count
}

// MonitorInfo is what an archive has of one monitor.
type MonitorInfo struct {
	Name        string
	First, Last time.Time
	Hours       int              // hours with files
	Missing     []Hours          // hours without any file between the first and the last
	Rows        map[string]int64 // by table
	Gaps        int              // gaps that the sources note
	Missed      int64            // events in these, at most
}

// Hours are a range of hours: the beginnings of the first and the last one.
type Hours struct{ From, To time.Time }

// Look reads the ends of all files of an archive, and its gaps.
func Look(ctx context.Context, dir string, progress func(done, total int)) (*Info, error) {
	l, err := list(dir)
	if err != nil {
		return nil, err
	}
	gone := replaced(dir, l.files)
	i := &Info{Rows: map[string]int64{}, Sizes: map[string]int64{}, Open: l.open, Foreign: l.foreign}
	for _, f := range l.files {
		if gone[f.Path] {
			i.Leftover = append(i.Leftover, f.Path)
		}
	}
	monitors := map[string]*MonitorInfo{}
	hours := map[string]map[time.Time]bool{}
	files := without(l.files, gone)
	for n, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(n+1, len(files))
		}
		first, last, rows, err := span(filepath.Join(dir, f.Path))
		if err != nil {
			if !isDamaged(err) {
				return nil, err
			}
			i.Damaged = append(i.Damaged, err)
			continue
		}
		i.Files++
		i.Bytes += f.Size
		i.Rows[f.Table] += rows
		i.Sizes[f.Table] += f.Size
		i.Sums = append(i.Sums, f)
		i.First, i.Last = wider(i.First, i.Last, first, last)
		if f.Table == "unified" {
			continue
		}
		m := monitors[f.Monitor]
		if m == nil {
			m = &MonitorInfo{Name: f.Monitor, Rows: map[string]int64{}}
			monitors[f.Monitor], hours[f.Monitor] = m, map[time.Time]bool{}
		}
		m.Rows[f.Table] += rows
		m.First, m.Last = wider(m.First, m.Last, first, last)
		hours[f.Monitor][f.Hour] = true
	}
	for name, m := range monitors {
		m.Hours, m.Missing = len(hours[name]), missing(hours[name])
		i.Monitors = append(i.Monitors, *m)
	}
	slices.SortFunc(i.Monitors, func(a, b MonitorInfo) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return i, i.countGaps(ctx, &Archive{Dir: dir, Files: i.Sums})
}

func wider(first, last, a, b time.Time) (time.Time, time.Time) {
	if a.IsZero() {
		return first, last
	}
	if first.IsZero() || a.Before(first) {
		first = a
	}
	if b.After(last) {
		last = b
	}
	return first, last
}

// missing returns the hours that are not in a set, between its first and last one.
func missing(have map[time.Time]bool) (out []Hours) {
	all := make([]time.Time, 0, len(have))
	for at := range have {
		all = append(all, at)
	}
	slices.SortFunc(all, time.Time.Compare)
	for i := 1; i < len(all); i++ {
		if from := all[i-1].Add(time.Hour); from.Before(all[i]) {
			out = append(out, Hours{from, all[i].Add(-time.Hour)})
		}
	}
	return out
}

func (i *Info) countGaps(ctx context.Context, a *Archive) error {
	for n := range i.Monitors {
		m := &i.Monitors[n]
		var files []File
		for _, f := range a.Files {
			if f.Monitor == m.Name && f.Table == "gaps" {
				files = append(files, f)
			}
		}
		err := a.byHour(ctx, files, func(hour []File) error {
			s, err := a.merged(hour, gaps)
			if err != nil {
				return err
			}
			defer s.close()
			for ; s.some; s.next() {
				g := current[Gap](s)
				m.Gaps++
				m.Missed += g.Slow + g.Bus
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Verify reads all of an archive: each file against the checksum in its name, each
// of its rows, their order, and that they belong into its hour; and whether there are
// as many rows as the notes of the sources say. It returns what is wrong, which is
// nothing for a whole archive.
func Verify(ctx context.Context, dir string, progress func(done, total int)) (files int, wrong []error, err error) {
	sources, err := Sources(dir) // before the files: those of a source are there before its note
	if err != nil {
		return 0, nil, err
	}
	l, err := list(dir)
	if err != nil {
		return 0, nil, err
	}
	for _, at := range l.foreign {
		wrong = append(wrong, fmt.Errorf("archive: %s is not a file of an archive", at))
	}
	gone := replaced(dir, l.files)
	for path := range gone {
		if slices.ContainsFunc(l.files, func(f File) bool { return f.Path == path }) {
			wrong = append(wrong, fmt.Errorf("archive: %s was merged into another file and is still here: a program that reads all files counts it twice; run ipfsmon archive merge", path))
		}
	}
	missing := map[string]int64{} // rows, by the folder of the monitor
	for _, s := range sources {
		missing[monitorFolder(s.Monitor)] += s.Rows
	}
	for n, f := range l.files {
		if err := ctx.Err(); err != nil {
			return n, wrong, err
		}
		rows, err := verifyFile(dir, f)
		if !gone[f.Path] {
			missing[f.monitorFolder()] -= rows
		}
		if err != nil {
			if !isDamaged(err) {
				return n, wrong, err
			}
			wrong = append(wrong, err)
			missing[f.monitorFolder()] = math.MinInt64 / 2 // its rows are not known
		} else if made, err := Made(dir, f.Source); err != nil {
			return n, wrong, err
		} else if !made && f.Source != mergedID(f) {
			wrong = append(wrong, fmt.Errorf("archive: %s is of a source that is not all there: what made it was interrupted; run it again", f.Path))
		}
		if progress != nil {
			progress(n+1, len(l.files))
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(missing)) {
		if n := missing[folder]; n > 0 {
			wrong = append(wrong, fmt.Errorf("archive: %s: %d rows of its sources are in no file: files are missing, or were removed", folder, n))
		}
	}
	return len(l.files), wrong, nil
}

// verifyFile returns what is wrong with a file, or how many rows it has.
func verifyFile(dir string, f File) (rows int64, err error) {
	if err := checkSum(dir, f); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, f.Path)
	meta, err := metadata(path)
	if err != nil {
		return 0, err
	}
	if meta[keyTable] != f.Table || f.Table != "unified" && escaped(meta[keyMonitor]) != escaped(f.Monitor) {
		return 0, damaged(f.Path, fmt.Errorf("it is of table %q and monitor %q: it is in the wrong folder", shortened(meta[keyTable]), shortened(meta[keyMonitor])))
	}
	r, err := tables[tableNamed(f.Table)].openRows(path)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var last order
	for n := 0; ; n++ {
		at, err := r.next()
		switch {
		case isDamaged(err):
			return 0, err
		case err != nil:
			return int64(n), nil // the end
		case n > 0 && at.compare(last) < 0:
			return 0, damaged(f.Path, fmt.Errorf("its row %d is older than the one before", n))
		case hourOf(at.time)*3600 != f.Hour.Unix():
			return 0, damaged(f.Path, fmt.Errorf("its row %d is of %s", n, time.Unix(0, at.time).UTC().Format(time.RFC3339)))
		}
		last = at
	}
}
