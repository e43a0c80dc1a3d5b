package rollup

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/histogram"
)

// FileName is the name of the file in the folder of a spool.
const FileName = "rollups"

// header is the file's first line. The file is text: blocks of lines, each block as Save wrote it, ended by
// "=", the time and the CRC-32C of the block's lines before it and of the time. A block is read whole or
// not at all, and the first that is not ends the file.
//
//	s 3 wants,codec=raw,node=a    series 3 of this file
//	b 60 1764115200               minutes that start before that second are gone
//	g 60 1764115200 1764118740    minutes from the first to the second are gone
//	i 60 1764118800 1764118801000000000   the next lines are of this minute, changed at that time
//	w 60 1764118800               this minute was written, as it is here
//	c 3 12 3400 900 40:7 41:5     series 3: count, sum, maximum, buckets of its histogram
//	= 1764118801000000000 1a2b3c4d
const header = "ipfsmon rollups 1\n"

// maxLog is how long the file grows beyond what its sums need before it is written again.
const maxLog = 4 << 20

// settled is how long after it was written a minute or hour is on disk in the spool, or stored: from then on it
// is not written again after a start. Before, it may have been in memory only.
const settled = 2 * time.Minute

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// file keeps the sums on disk. What Save wrote outlives the process; what Append wrote of, the machine.
type file struct {
	path    string
	f       *os.File
	size    int64 // whole blocks
	compact int64 // its size when it was last written again
	buf     []byte
	known   []bool // series in the file
	gone    []gone
	synced  bool
}

// gone is an interval that is no longer held.
type gone struct {
	of    *span
	start int64
}

// Open reads the sums in a folder, or starts new ones there. A damaged end of the file is dropped; the
// number of its bytes is returned.
func Open(dir string, now time.Time) (s *Sums, damaged int, err error) {
	s = New(now)
	path := filepath.Join(dir, FileName)
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, 0, fmt.Errorf("rollups: %w", err)
	default:
		damaged = s.read(old)
		for i := range s.spans {
			for _, v := range s.spans[i].held {
				v.wrote = now // at the latest
			}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, damaged, fmt.Errorf("rollups: %w", err)
	}
	s.file = &file{path: path}
	if err := s.rewrite(now); err != nil {
		s.file.close()
		return nil, damaged, err
	}
	return s, damaged, nil
}

// Close closes the file, after a last Save.
func (s *Sums) Close(now time.Time) error {
	if s.file == nil {
		return nil
	}
	err := s.Save(now)
	return errors.Join(err, s.file.close())
}

func (f *file) close() (err error) {
	if f.f != nil {
		err = f.f.Close()
		f.f = nil
	}
	return err
}

// Save writes what has changed to the file, if there is one. After an error the next call writes it again.
// What Append will write is synced to the disk, so that after a crash of the machine nothing is written again with less.
func (s *Sums) Save(now time.Time) error {
	at, changed, over := now.UnixNano(), false, false
	for i := range s.spans {
		sp := &s.spans[i]
		for _, v := range sp.held {
			if v.unsaved {
				changed, v.at = true, at
			}
			if v.written && !v.overtook && !v.marked && now.Sub(v.wrote) >= settled {
				changed, v.marked, v.unmarked = true, true, true
			}
			over = over || !v.written && v.start+sp.every+int64(grace) <= at
		}
	}
	f := s.file
	if f == nil {
		for i := range s.spans {
			for _, v := range s.spans[i].held {
				v.unsaved = false
			}
		}
		return nil
	}
	if f.f == nil || f.size > maxLog+2*f.compact {
		return s.rewrite(now)
	}
	if changed || len(f.gone) > 0 {
		f.buf = s.block(f.buf[:0], at, false)
		if _, err := f.f.WriteAt(f.buf, f.size); err != nil {
			return fmt.Errorf("rollups: %w", err)
		}
		f.size += int64(len(f.buf))
		f.synced = false
		s.saved()
	}
	if over && !f.synced {
		if err := f.f.Sync(); err != nil {
			return fmt.Errorf("rollups: %w", err)
		}
		f.synced = true
	}
	return nil
}

// rewrite replaces the file by one with what is held.
func (s *Sums) rewrite(now time.Time) error {
	f := s.file
	f.known = f.known[:0]
	b := s.block([]byte(header), now.UnixNano(), true)
	next, err := os.OpenFile(f.path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("rollups: %w", err)
	}
	_, err = next.Write(b)
	if err = errors.Join(err, next.Sync()); err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err != nil {
		next.Close()
		f.close() // its series are numbered another way
		return fmt.Errorf("rollups: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil {
		_ = dir.Sync() // where folders cannot be synced, the rename is as good as it gets
		dir.Close()
	}
	f.close()
	f.f, f.size, f.compact, f.synced = next, int64(len(b)), int64(len(b)), true
	s.saved()
	return nil
}

// saved notes that everything is in the file.
func (s *Sums) saved() {
	s.file.gone = s.file.gone[:0]
	for i := range s.spans {
		for _, v := range s.spans[i].held {
			v.unmarked = false
			if !v.unsaved {
				continue
			}
			v.unsaved = false
			for _, c := range v.cells {
				if c != nil {
					c.unsaved = false
				}
			}
		}
	}
}

// block makes one block of what has changed, or of everything, after what is in b.
func (s *Sums) block(b []byte, at int64, all bool) []byte {
	line := func(kind byte, values ...int64) {
		b = append(b, kind)
		for _, v := range values {
			b = strconv.AppendInt(append(b, ' '), v, 10)
		}
	}
	for i := range s.spans {
		sp := &s.spans[i]
		every := sp.every / int64(time.Second)
		gone := sp.gone
		if all {
			line('b', every, sp.born/int64(time.Second))
			b = append(b, '\n')
		} else {
			gone = nil
			for _, g := range s.file.gone {
				if g.of == sp {
					gone = append(gone, stretch{g.start, g.start})
				}
			}
		}
		for _, g := range gone {
			line('g', every, g.first/int64(time.Second), g.last/int64(time.Second))
			b = append(b, '\n')
		}
		for _, v := range sp.sorted() {
			if !all && !v.unsaved && !v.unmarked {
				continue
			}
			begun := false
			for place, c := range v.cells {
				if c == nil || !all && !c.unsaved {
					continue
				}
				for len(s.file.known) <= place {
					s.file.known = append(s.file.known, false)
				}
				if !s.file.known[place] {
					s.file.known[place] = true
					line('s', int64(place))
					b = append(append(append(append(b, ' '), s.series[place].of.Name...), s.series[place].tags...), '\n')
				}
				if !begun {
					begun = true
					line('i', every, v.start/int64(time.Second), v.at)
					b = append(b, '\n')
				}
				line('c', int64(place), c.n, c.sum, c.max)
				for _, x := range c.hist.Buckets() {
					b = strconv.AppendInt(append(b, ' '), int64(x.Number), 10)
					b = strconv.AppendUint(append(b, ':'), x.Count, 10)
				}
				b = append(b, '\n')
			}
			if v.marked {
				line('w', every, v.start/int64(time.Second))
				b = append(b, '\n')
			}
		}
	}
	line('=', at)
	sum := crc32.Checksum(b, castagnoli) // the header is of the first block
	return fmt.Appendf(b, " %08x\n", sum)
}

// read reads a file and returns how many bytes at its end are not whole blocks.
func (s *Sums) read(b []byte) (damaged int) {
	if !bytes.HasPrefix(b, []byte(header)) {
		return len(b)
	}
	r := reading{s: s, series: make(map[int64]int)}
	from, pos := 0, len(header)
	for pos < len(b) {
		line, _, whole := bytes.Cut(b[pos:], []byte{'\n'})
		if !whole {
			break
		}
		if !bytes.HasPrefix(line, []byte("= ")) {
			pos += len(line) + 1
			continue
		}
		cut := bytes.LastIndexByte(line, ' ')
		if cut < 0 {
			break
		}
		if fmt.Sprintf("%08x", crc32.Checksum(b[from:pos+cut], castagnoli)) != string(line[cut+1:]) {
			break
		}
		for l := range bytes.Lines(bytes.TrimPrefix(b[from:pos], []byte(header))) {
			r.line(strings.TrimSuffix(string(l), "\n"))
		}
		pos += len(line) + 1
		from = pos
	}
	for i := range s.spans {
		sp := &s.spans[i]
		for _, v := range sp.held {
			s.bytes += v.size()
		}
	}
	return len(b) - from
}

// reading is a file being read. What it does not know, which another version wrote, is left out.
type reading struct {
	s      *Sums
	series map[int64]int // places by number in the file
	in     *interval
}

func (r *reading) line(l string) {
	f := strings.Split(l, " ")
	if f[0] == "s" {
		f = strings.SplitN(l, " ", 3) // a name may have spaces
	}
	var n []int64
	for _, x := range f[1:] {
		v, err := strconv.ParseInt(x, 10, 64)
		if err != nil {
			break
		}
		n = append(n, v)
	}
	switch {
	case f[0] == "s" && len(f) == 3 && len(n) > 0:
		name, tags, _ := strings.Cut(f[2], ",")
		for _, m := range schema.Summed() {
			if m.Name == name && m.Rollup != nil && tags != "" {
				r.series[n[0]] = r.s.Series(m, ","+tags)
			}
		}
	case len(n) >= 2 && f[0] != "c":
		r.in = nil
		for i := range r.s.spans {
			sp := &r.s.spans[i]
			if sp.every != n[0]*int64(time.Second) {
				continue
			}
			start := n[1] * int64(time.Second)
			switch {
			case f[0] == "b":
				sp.born = min(sp.born, start)
			case f[0] == "g" && len(n) == 3:
				last := n[2] * int64(time.Second)
				for at := range sp.held {
					if at >= start && at <= last {
						delete(sp.held, at)
					}
				}
				sp.close(stretch{start, last})
			case f[0] == "w":
				if v := sp.held[start]; v != nil {
					v.written, v.marked = true, true
				}
			case f[0] == "i" && len(n) == 3:
				if r.in = sp.held[start]; r.in == nil {
					r.in = &interval{start: start}
					sp.held[start] = r.in
				}
				r.in.at, r.in.written, r.in.marked = n[2], false, false
			}
		}
	case f[0] == "c" && len(n) >= 4 && r.in != nil:
		place, ok := r.series[n[0]]
		if !ok || n[1] <= 0 {
			return
		}
		c, _ := r.in.cell(place)
		c.n, c.sum, c.max = n[1], n[2], n[3]
		for _, x := range f[5:] {
			number, count, _ := strings.Cut(x, ":")
			i, err1 := strconv.Atoi(number)
			k, err2 := strconv.ParseUint(count, 10, 64)
			if err1 == nil && err2 == nil {
				c.hist.Set(histogram.Bucket{Number: i, Count: k})
			}
		}
	}
}
