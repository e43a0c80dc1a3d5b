package rollup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// at is a whole hour.
var at = time.Unix(1_760_000_400, 0).UTC().Truncate(time.Hour)

func save(t *testing.T, s *Sums, now time.Time) {
	t.Helper()
	if err := s.Save(now); err != nil {
		t.Fatal(err)
	}
}

// TestLines: a minute and an hour are written when they are over, with the fields of the schema,
// and again with the whole when a late point comes.
func TestLines(t *testing.T) {
	s := New(at)
	blocks, latency := s.Series(schema.Blocks, ",node=n"), s.Series(schema.Latency, ",answer=block,node=n")
	s.Add(blocks, at.UnixNano(), 5)
	s.Add(blocks, at.Add(time.Minute-1).UnixNano(), 7)
	s.Add(blocks, at.Add(time.Minute).UnixNano(), 100)
	for _, v := range []int64{1, 2, 9} {
		s.Add(latency, at.UnixNano(), v)
	}
	f := func(now time.Time, want string) {
		t.Helper()
		save(t, s, now)
		got, points := s.Append(nil, now, time.Time{})
		want = strings.TrimPrefix(strings.ReplaceAll(strings.ReplaceAll(want, "HOUR", fmt.Sprint(at.UnixNano())), "NEXT", fmt.Sprint(at.Add(time.Minute).UnixNano())), "\n")
		if string(got) != want || points != strings.Count(want, "\n") {
			t.Errorf("at %v: %d points\n%s, want\n%s", now.Sub(at), points, got, want)
		}
	}
	f(at.Add(time.Minute+time.Second), "")
	f(at.Add(time.Minute+2*time.Second), `
blocks_1m,node=n blocks=2i,bytes=12i HOUR
latency_1m,answer=block,node=n answers=3i,mean_us=4,median_us=2,max_us=9i HOUR
`)
	f(at.Add(time.Minute+3*time.Second), "")
	s.Add(blocks, at.UnixNano(), 1)
	f(at.Add(time.Minute+4*time.Second), "") // more may come
	f(at.Add(time.Minute+12*time.Second), `
blocks_1m,node=n blocks=3i,bytes=13i HOUR
latency_1m,answer=block,node=n answers=3i,mean_us=4,median_us=2,max_us=9i HOUR
`)
	f(at.Add(time.Hour+2*time.Second), `
blocks_1m,node=n blocks=1i,bytes=100i NEXT
blocks_1h,node=n blocks=4i,bytes=113i HOUR
latency_1h,answer=block,node=n answers=3i,mean_us=4,median_us=2,max_us=9i HOUR
`)
	s.Add(blocks, at.Add(-1).UnixNano(), 1) // before the start: somebody may have written that
	if f(at.Add(2*time.Hour), ""); s.Late() != 2 {
		t.Errorf("%d late, want the minute and the hour", s.Late())
	}
}

// world is a monitor that sums and crashes, and what is true.
type world struct {
	t      *testing.T
	dir    string
	now    time.Time
	s      *Sums
	truth  map[string]int64 // points by series and start, those that were saved
	new    map[string]int64 // those that were not
	store  map[string]int64 // what was written last
	points int
}

func (w *world) open() {
	s, damaged, err := Open(w.dir, w.now)
	if err != nil || damaged > 0 {
		w.t.Fatalf("%v, %d bytes damaged", err, damaged)
	}
	w.s = s
}

func (w *world) save() {
	save(w.t, w.s, w.now)
	for k, n := range w.new {
		w.truth[k] += n
	}
	clear(w.new)
}

func (w *world) write() {
	w.save()
	lines, _ := w.s.Append(nil, w.now, time.Time{})
	for _, l := range influxtest.Decode(w.t, string(lines)) {
		key, n := fmt.Sprint(l.Name, l.Tags, l.At), l.Fields["wants"].(int64)
		if n < w.store[key] {
			w.t.Fatalf("%s has %d, was written with %d", key, n, w.store[key])
		}
		w.store[key] = n
		w.points++
	}
}

// TestNeverLess: whatever the clock does and wherever the monitor crashes, nothing is written
// with less than before, and at the end everything is written that was saved and was not too late.
func TestNeverLess(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		w := &world{t: t, dir: t.TempDir(), now: at, truth: map[string]int64{}, new: map[string]int64{}, store: map[string]int64{}}
		w.open()
		for range 600 {
			w.now = w.now.Add(time.Duration(r.Int64N(int64(20 * time.Second))))
			switch r.IntN(100) {
			case 0: // a crash: what was not saved is gone
				w.s.file.close()
				clear(w.new)
				w.open()
			case 1:
				w.s.file.close()
				clear(w.new)
				w.now = w.now.Add(time.Duration(r.Int64N(int64(3 * time.Hour))))
				w.open()
			case 2: // the clock is set
				w.now = w.now.Add(time.Duration(r.Int64N(int64(4*time.Hour))) - 2*time.Hour)
			case 3:
				w.write()
				if err := w.s.rewrite(w.now); err != nil {
					t.Fatal(err)
				}
			default:
				for range r.IntN(5) {
					tags := fmt.Sprintf(",node=%d", r.IntN(3))
					when := w.now.Add(-time.Duration(r.Int64N(int64(time.Duration(1+r.IntN(100)) * time.Second))))
					w.s.Add(w.s.Series(schema.Wants, tags), when.UnixNano(), 0)
					for i, every := range schema.RollupSpans {
						if w.s.spans[i].held[when.Truncate(every).UnixNano()] == nil {
							continue // too late
						}
						w.new[fmt.Sprint("wants", schema.RollupSuffix(every), map[string]string{"node": tags[6:]}, when.Truncate(every).UnixNano())]++
					}
				}
				if r.IntN(2) == 0 {
					w.write()
				}
			}
		}
		for range 3 {
			w.now = w.now.Add(5 * time.Hour)
			w.write()
		}
		if !maps.Equal(w.truth, w.store) {
			for k, n := range w.truth {
				if w.store[k] != n {
					t.Errorf("seed %d: %s was written with %d, want %d", seed, k, w.store[k], n)
				}
			}
			for k, n := range w.store {
				if w.truth[k] != n {
					t.Errorf("seed %d: %s was written with %d, counted %d", seed, k, n, w.truth[k])
				}
			}
		}
		if w.points < 500 {
			t.Errorf("seed %d: only %d points were written", seed, w.points)
		}
		if err := w.s.Close(w.now); err != nil {
			t.Error(err)
		}
	}
}

// TestUnsavedIsNotWritten: what a disk did not take is not written, and is once it has.
func TestUnsavedIsNotWritten(t *testing.T) {
	s, _, err := Open(t.TempDir(), at)
	if err != nil {
		t.Fatal(err)
	}
	s.Add(s.Series(schema.Wants, ",node=n"), at.UnixNano(), 0)
	f, now := s.file.f, at.Add(2*time.Minute)
	broken, err := os.Open(s.file.path) // read-only
	if err != nil {
		t.Fatal(err)
	}
	s.file.f = broken
	if err := s.Save(now); err == nil {
		t.Error("saved to a file that cannot be written")
	}
	if _, points := s.Append(nil, now, time.Time{}); points != 0 {
		t.Errorf("%d points of what is not on disk", points)
	}
	broken.Close()
	s.file.f = f
	save(t, s, now)
	if _, points := s.Append(nil, now, time.Time{}); points != 1 {
		t.Errorf("%d points, want 1", points)
	}
	if err := s.Close(now); err != nil {
		t.Error(err)
	}
}

// TestWritesArriveInAnyOrder: also where writes wait, overtake each other and outlive the monitor, each minute and hour has
// all its points at the end.
func TestWritesArriveInAnyOrder(t *testing.T) {
	type write struct {
		at    time.Time
		lines []byte
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 8))
		w := &world{t: t, dir: t.TempDir(), now: at, truth: map[string]int64{}, new: map[string]int64{}, store: map[string]int64{}}
		w.open()
		var waiting []write
		deliver := func() {
			i := r.IntN(len(waiting))
			for _, l := range influxtest.Decode(t, string(waiting[i].lines)) {
				w.store[fmt.Sprint(l.Name, l.Tags, l.At)] = l.Fields["wants"].(int64)
			}
			waiting = slices.Delete(waiting, i, i+1)
		}
		step := func() (wrote bool) {
			w.save()
			var oldest time.Time
			if len(waiting) > 0 {
				oldest = waiting[0].at
			}
			lines, points := w.s.Append(nil, w.now, oldest)
			if points > 0 {
				waiting = append(waiting, write{w.now, lines})
			}
			return points > 0
		}
		for range 400 {
			w.now = w.now.Add(time.Duration(r.Int64N(int64(20 * time.Second))))
			if r.IntN(50) == 0 { // what was written waits in the spool
				w.s.file.close()
				w.open()
			}
			for range r.IntN(3) {
				when := w.now.Add(-time.Duration(r.Int64N(int64(5 * time.Minute))))
				if when.Before(at) {
					continue
				}
				w.s.Add(w.s.Series(schema.Wants, ",node=n"), when.UnixNano(), 0)
				for _, every := range schema.RollupSpans {
					w.new[fmt.Sprint("wants", schema.RollupSuffix(every), map[string]string{"node": "n"}, when.Truncate(every).UnixNano())]++
				}
			}
			step()
			if len(waiting) > 0 && r.IntN(3) == 0 {
				deliver()
			}
		}
		for w.now = w.now.Add(time.Hour); step() || len(waiting) > 0; w.now = w.now.Add(again) {
			if len(waiting) > 0 {
				deliver()
			}
		}
		require.Equal(t, w.truth, w.store, "seed %d", seed)
		for range 20 { // nothing is written for ever
			w.now = w.now.Add(again)
			require.False(t, step())
		}
		require.NoError(t, w.s.Close(w.now))
	}
}

// TestDamage: a file that ends anywhere, or has another byte anywhere, is read up to its last whole block
// before that; the rest of the sums is as it was.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s, _, err := Open(dir, at)
	if err != nil {
		t.Fatal(err)
	}
	place := s.Series(schema.Latency, `,answer=block,node=a\ b`)
	var sizes []int64
	for i := range 5 {
		sizes = append(sizes, s.file.size)
		s.Add(place, at.UnixNano(), int64(i*1000))
		save(t, s, at.Add(time.Duration(i)*time.Second))
	}
	sizes = append(sizes, s.file.size)
	if err := s.Close(at); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	influxtest.Generated(t, "testdata/rollups.golden", string(whole))
	for cut := range whole {
		blocks := -1
		for i, size := range sizes {
			if int64(cut) >= size {
				blocks = i
			}
		}
		damaged := append([]byte(nil), whole...)
		damaged[cut] ^= 0x11
		for _, b := range [][]byte{whole[:cut], damaged} {
			s := New(at)
			s.read(b)
			n := int64(0)
			if in := s.spans[0].held[at.UnixNano()]; in != nil {
				n = in.cells[0].n
			}
			if n != int64(max(blocks, 0)) {
				t.Errorf("cut at %d of %d: %d points, want %d", cut, len(whole), n, max(blocks, 0))
			}
		}
	}
}

// TestMemory: it is bounded whatever the times and series are; what goes is written.
func TestMemory(t *testing.T) {
	s := New(at)
	var places []int
	for i := range 2000 {
		places = append(places, s.Series(schema.Latency, fmt.Sprintf(",node=%d", i)))
	}
	r, counted, written := rand.New(rand.NewPCG(1, 2)), uint64(0), uint64(0)
	for i := range 300_000 {
		now := at.Add(time.Duration(i) * 100 * time.Millisecond)
		s.Add(places[r.IntN(len(places))], now.UnixNano(), r.Int64N(1e9))
		counted++
		if i%10 == 0 {
			save(t, s, now)
			_, points := s.Append(nil, now, time.Time{})
			written += uint64(points)
			size := 0
			if i%10000 == 0 {
				for k := range s.spans {
					for _, v := range s.spans[k].held {
						size += v.size()
					}
				}
				if size != s.bytes {
					t.Fatalf("%d bytes, counted %d", size, s.bytes)
				}
			}
			if s.bytes > maxBytes {
				t.Fatalf("%d bytes", s.bytes)
			}
		}
	}
	if written < counted/2 {
		t.Errorf("%d lines of %d points", written, counted)
	}
	for i := range 10_000 { // clocks that say anything
		s.Add(places[0], at.Add(time.Duration(i)*1000*time.Hour).UnixNano(), 1)
	}
	if n := len(s.spans[0].held); n > 2*hold[0] {
		t.Errorf("%d minutes in memory", n)
	}
	if s.Late() == 0 {
		t.Error("nothing is counted as late")
	}
}

// TestAddDoesNotAllocate: counting is on the path of every point.
func TestAddDoesNotAllocate(t *testing.T) {
	s := New(at)
	place := s.Series(schema.Blocks, ",node=n")
	s.Add(place, at.UnixNano(), 1)
	if n := testing.AllocsPerRun(1000, func() { s.Add(place, at.UnixNano(), 1) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := New(at)
	place := s.Series(schema.Blocks, ",node=n")
	for b.Loop() {
		s.Add(place, at.UnixNano(), 1)
	}
}

func FuzzRead(f *testing.F) {
	golden, err := os.ReadFile("testdata/rollups.golden")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, uint16(0))
	f.Add([]byte(header+"i 60 0 0\nc 0 1\n= 1 00000000\n"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, _ uint16) {
		s := New(at)
		if damaged := s.read(b); damaged < 0 || damaged > len(b) {
			t.Errorf("%d of %d bytes damaged", damaged, len(b))
		}
		r := reading{s: s, series: map[int64]int{}}
		for l := range strings.Lines(string(b)) { // also those whose sum is wrong
			r.line(strings.TrimSuffix(l, "\n"))
		}
		lines, points := s.Append(nil, at.Add(1000*time.Hour), time.Time{})
		if strings.Count(string(lines), "\n") != points {
			t.Errorf("%d points in %q", points, lines)
		}
	})
}
