package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// onDisk is a spool in memory whose Put waits for the disk.
func onDisk(t *testing.T, cfg Config) (*Spool, *memFS) {
	t.Helper()
	m := newMemFS()
	cfg.Dir, cfg.fs = "/s", m
	return open(t, cfg), m
}

// So much waits in memory: a byte less than syncBytes for SyncEvery, as much not at all.
func TestSyncBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := onDisk(t, Config{SyncEvery: time.Hour, syncBytes: 100})
		s.Put(0, 1, time.Now(), make([]byte, 99))
		synctest.Wait()
		if n := s.Stats().Unsynced; n != 99 {
			t.Errorf("%d bytes wait, want 99", n)
		}
		s.Put(0, 1, time.Now(), make([]byte, 1))
		synctest.Wait()
		if n := s.Stats().Unsynced; n != 0 {
			t.Errorf("%d bytes wait, want none", n)
		}
	})
}

// A batch is on disk after SyncEvery, not before half of it: one that is delivered sooner is
// never written.
func TestSyncEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := onDisk(t, Config{SyncEvery: 2 * time.Second})
		wait := func(d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n := s.Stats().Unsynced; n != want {
				t.Errorf("%d bytes wait, want %d", n, want)
			}
		}
		s.Put(0, 1, time.Now(), make([]byte, 10))
		wait(time.Second-1, 10)
		wait(1, 0)
		wait(1, 0)
		s.Put(0, 1, time.Now(), make([]byte, 10))
		wait(time.Second-1, 10) // it is a nanosecond too young at the tick
		s.Put(0, 1, time.Now(), make([]byte, 5))
		wait(time.Second-1, 15)
		wait(1, 0) // the second is as old as half of SyncEvery
	})
}

// With SyncEvery 0 the limits and the cursor are applied each second.
func TestDeliveredSegmentGoesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := onDisk(t, Config{MaxBytes: 64 << 10, MaxPoints: 1})
		s.Put(0, 1, time.Now(), make([]byte, 8<<10-frameExtra))
		s.Put(0, 1, time.Now(), make([]byte, 10)) // begins the second segment
		b, err := s.Next(t.Context(), Fresh)
		if err != nil {
			t.Fatal(err)
		}
		s.Ack(b)
		if n := s.Stats().Segments; n != 2 {
			t.Fatalf("%d segments, want 2", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.Stats().Segments; n != 1 {
			t.Errorf("%d segments, want 1", n)
		}
	})
}

// Batches are joined up to MaxPoints and MaxJoin, from memory and from disk.
func TestJoinLimits(t *testing.T) {
	type batch struct{ points, bytes int }
	f := func(want int, all ...batch) {
		t.Helper()
		for _, sync := range []time.Duration{0, time.Hour} {
			s, _ := onDisk(t, Config{SyncEvery: sync, MaxPoints: 10, MaxJoin: 100})
			for _, b := range all {
				s.Put(0, b.points, time.Now(), make([]byte, b.bytes))
			}
			b, err := s.Next(t.Context(), Fresh)
			if err != nil {
				t.Fatal(err)
			}
			if b.Points != want {
				t.Errorf("%v, SyncEvery %v: %d points joined, want %d", all, sync, b.Points, want)
			}
			sum := 0
			for _, x := range all[:len(b.frames)] {
				sum += x.bytes
			}
			if len(b.Data) != sum {
				t.Errorf("%v: %d bytes, want %d", all, len(b.Data), sum)
			}
			s.Ack(b)
		}
	}
	f(10, batch{4, 10}, batch{6, 10}, batch{1, 10})
	f(4, batch{4, 10}, batch{7, 10}, batch{1, 10})
	f(9, batch{4, 10}, batch{5, 10})
	f(3, batch{1, 40}, batch{2, 60}, batch{3, 1})
	f(1, batch{1, 40}, batch{2, 61})
	f(11, batch{11, 10}, batch{1, 10})
	f(6, batch{1, 10}, batch{2, 10}, batch{3, 10})
}

// Memory holds as much as MaxMemory; what is over it costs the oldest batch, which is counted.
func TestMemoryLimit(t *testing.T) {
	s, m := onDisk(t, Config{SyncEvery: time.Hour, MaxMemory: 100})
	m.fail = func(int, string, string) error { return errCut }
	for i, x := range []struct{ bytes, points, memory, dropped, droppedBytes int }{
		{40, 1, 40, 0, 0}, {60, 2, 100, 0, 0}, {1, 4, 61, 1, 40}, {39, 8, 100, 1, 40}, {200, 16, 200, 15, 140},
	} {
		s.Put(0, x.points, time.Now(), make([]byte, x.bytes))
		st := s.Stats()
		if st.Memory != x.memory || st.Unsynced != x.memory || int(st.Dropped) != x.dropped || int(st.DroppedBytes) != x.droppedBytes {
			t.Errorf("after batch %d: %+v, want %+v", i, st, x)
		}
	}
	if st := s.Stats(); st.Points != 16 || st.Frames != 1 {
		t.Errorf("%+v, want the newest batch alone, though it is larger than the bound", st)
	}
}

// What is on disk goes from memory once a quarter of MaxMemory is exceeded.
func TestSyncedBatchesLeaveMemory(t *testing.T) {
	s, _ := onDisk(t, Config{SyncEvery: 0, MaxMemory: 400})
	for i, want := range []int{50, 100, 100} {
		s.Put(0, 1, time.Now(), make([]byte, 50))
		if st := s.Stats(); st.Memory != want || st.Unsynced != 0 || st.Frames != i+1 {
			t.Errorf("after batch %d: %+v, want %d bytes in memory", i, st, want)
		}
	}
}

// The disk holds as much as MaxBytes, in segments of an eighth. What is over it costs the
// oldest segment; a batch that is larger than all of it is lost.
func TestDiskLimit(t *testing.T) {
	const most = 64 << 10
	s, _ := onDisk(t, Config{MaxBytes: most})
	eighth := make([]byte, most/8-frameExtra)
	for i := 1; i <= 8; i++ {
		s.Put(0, 1, time.Now(), bytes.Clone(eighth))
		if st := s.Stats(); st.Segments != i || st.Disk != int64(i*most/8) || st.Dropped != 0 {
			t.Fatalf("%d eighths: %+v", i, st)
		}
	}
	s.Put(0, 1, time.Now(), []byte("x"))
	if st := s.Stats(); st.Dropped != 1 || st.DroppedBytes != uint64(len(eighth)) || st.Segments != 8 || st.Points != 8 {
		t.Errorf("one byte more: %+v", st)
	}

	s, _ = onDisk(t, Config{MaxBytes: most})
	s.Put(0, 1, time.Now(), make([]byte, most/8-2*frameExtra-1))
	s.Put(0, 1, time.Now(), []byte("x"))
	if st := s.Stats(); st.Segments != 1 || st.Disk != most/8 {
		t.Errorf("a full segment: %+v", st)
	}
	s.Put(0, 1, time.Now(), nil)
	if st := s.Stats(); st.Segments != 2 {
		t.Errorf("a batch more: %+v", st)
	}

	s, _ = onDisk(t, Config{MaxBytes: most})
	s.Put(0, 1, time.Now(), make([]byte, most-frameExtra))
	if st := s.Stats(); st.Dropped != 0 || st.Disk != most {
		t.Errorf("a batch as large as the limit: %+v", st)
	}
	s.Put(0, 1, time.Now(), make([]byte, most-frameExtra+1))
	if st := s.Stats(); st.Dropped != 1 || st.Points != 1 {
		t.Errorf("a batch a byte larger: %+v", st)
	}
}

// Several batches that wait are written at once within the limits: the room for each counts
// those before it.
func TestDiskLimitOfOneFlush(t *testing.T) {
	const most = 64 << 10
	s, m := onDisk(t, Config{MaxBytes: most, SyncEvery: time.Hour})
	for range 64 {
		s.Put(0, 1, time.Now(), make([]byte, 2<<10-frameExtra))
	}
	s.flush()
	st := s.Stats()
	if st.Disk != most || st.Points != 32 || st.Dropped != 32 || st.Segments != 8 {
		t.Errorf("%+v, want 32 batches of 2 KiB on disk", st)
	}
	sum := 0
	for name, d := range m.names {
		if strings.HasSuffix(name, suffix) {
			sum += len(d.now)
		}
	}
	if sum != most {
		t.Errorf("%d bytes in files, want %d", sum, most)
	}
}

// A segment goes when its newest batch is older than MaxAge.
func TestAgeLimit(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	s, _ := onDisk(t, Config{MaxAge: time.Hour, now: clock.now})
	s.Put(0, 1, clock.now(), payload(0))
	clock.add(time.Hour)
	s.flush()
	if st := s.Stats(); st.Dropped != 0 {
		t.Errorf("as old as the limit: %+v", st)
	}
	clock.add(1)
	s.flush()
	if st := s.Stats(); st.Dropped != 1 || st.Segments != 0 {
		t.Errorf("older than the limit: %+v", st)
	}
}

// A batch is fresh for freshFor.
func TestFreshFor(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	for _, sync := range []time.Duration{0, time.Hour} {
		s, _ := onDisk(t, Config{freshFor: time.Second, now: clock.now, SyncEvery: sync})
		s.Put(0, 1, clock.now(), payload(0))
		in := func(lane int) int {
			s.mu.Lock()
			defer s.mu.Unlock()
			frames, _ := s.pick(lane)
			s.release(frames)
			return len(frames)
		}
		clock.add(time.Second)
		if in(Backlog) != 0 || in(Fresh) != 1 {
			t.Error("as old as freshFor, and in the backlog")
		}
		clock.add(1)
		if in(Fresh) != 0 || in(Backlog) != 1 {
			t.Error("older than freshFor, and fresh")
		}
		s.Put(0, 1, clock.now(), payload(2)) // into the same segment
		if in(Backlog) != 1 || in(Fresh) != 1 {
			t.Error("a batch is in the other lane")
		}
		if b, err := s.Next(t.Context(), Backlog); err != nil || b.Points != 1 {
			t.Errorf("%+v, %v", b, err)
		}
	}
}

// What is not a frame is found wherever it ends, also where a part of the file that is read at
// once does.
func TestHolesOfEveryLength(t *testing.T) {
	const chunk = 256 << 10
	frame := appendFrame(nil, ref{seq: 7, points: 1, since: 1}, payload(0))
	lengths := []int{1, 3, 4, 5, 35, 36, 37, 100}
	for n := chunk - len(frame) - 2; n <= chunk-headerSize+2; n++ {
		lengths = append(lengths, n)
	}
	for n := chunk - 6; n <= chunk+6; n++ {
		lengths = append(lengths, n, n+chunk)
	}
	for _, n := range lengths {
		junk := bytes.Repeat([]byte{magic[0]}, n) // each byte may be the first of a frame
		b := append(append(append([]byte{}, junk...), frame...), "end"...)
		refs, holes, err := scan(bytes.NewReader(b), int64(len(b)))
		if err != nil || len(refs) != 1 || refs[0].off != int64(n) || refs[0].seq != 7 {
			t.Fatalf("behind %d bytes: %+v, %v", n, refs, err)
		}
		if want := []hole{{0, int64(n)}, {int64(n + len(frame)), int64(len(b))}}; fmt.Sprint(holes) != fmt.Sprint(want) {
			t.Fatalf("behind %d bytes: holes %v, want %v", n, holes, want)
		}
	}
}

// A frame's header has limits.
func TestHeaderLimits(t *testing.T) {
	f := func(r ref, want bool) {
		t.Helper()
		r.off = 5
		b := appendFrame(nil, r, nil)[:headerSize]
		binary.LittleEndian.PutUint32(b[28:], r.length) // of a payload that is not there
		binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
		got, ok := parseHeader(b, 5)
		if ok != want || ok && got != r {
			t.Errorf("%+v: %+v, %v, want %v", r, got, ok, want)
		}
		if _, ok := parseHeader(b[:headerSize-1], 5); ok {
			t.Error("a part of a header is one")
		}
	}
	f(ref{seq: 0}, false)
	f(ref{seq: 1}, true)
	f(ref{seq: maxSeq - 1, points: 9, length: 8, kind: 7, since: -6}, true)
	f(ref{seq: maxSeq}, false)
	f(ref{seq: 1, length: maxFrame}, true)
	f(ref{seq: 1, length: maxFrame + 1}, false)
}

// The names of segments.
func TestSegmentNames(t *testing.T) {
	f := func(name string, want uint64, ok bool) {
		t.Helper()
		if n, is := segmentNumber(name); is != ok || ok && n != want {
			t.Errorf("%s: %d, %v", name, n, is)
		}
	}
	f("0000000000000000.seg", 0, true)
	f("00000000000000ff.seg", 255, true)
	f("3fffffffffffffff.seg", maxSeq-1, true)
	f("4000000000000000.seg", 0, false)
	f("000000000000000.seg", 0, false)
	f("00000000000000000.seg", 0, false)
	f("0000000000000001.tmp", 0, false)
	f("000000000000000g.seg", 0, false)
}

// A cursor that no spool writes is none; one with too many spans is cut.
func TestCursorLimits(t *testing.T) {
	f := func(next uint64, done ranges, ok bool) {
		t.Helper()
		n, got, is := decodeCursor(encodeCursor(next, done))
		if is != ok || ok && (n != next || fmt.Sprint(got) != fmt.Sprint(done)) {
			t.Errorf("%d %v: %d %v %v", next, done, n, got, is)
		}
	}
	f(0, nil, true)
	f(maxSeq, nil, true)
	f(maxSeq+1, nil, false)
	f(10, ranges{{3, 3}, {5, 9}}, true)
	f(10, ranges{{5, 10}}, false)
	f(10, ranges{{5, 4}}, false)
	var many ranges
	for i := range uint64(maxSpans + 5) {
		many = append(many, span{2*i + 1, 2*i + 1})
	}
	f(1<<20, many[:maxSpans], true)
	n, got, ok := decodeCursor(encodeCursor(1<<20, many))
	if !ok || n != 1<<20 || len(got) != maxSpans || got[maxSpans-1] != many[maxSpans-1] {
		t.Errorf("%d, %d spans, %v", n, len(got), ok)
	}
	b := encodeCursor(3, nil)
	for cut := range len(b) {
		if _, _, ok := decodeCursor(b[:cut]); ok {
			t.Errorf("the first %d bytes are a cursor", cut)
		}
	}
}

// A cursor of the most spans is read by Open: what it says is delivered is not there.
func TestLargestCursor(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 20, 8<<20)
	var odd ranges
	for i := range uint64(maxSpans) {
		odd = append(odd, span{2*i + 1, 2*i + 1})
	}
	write(t, filepath.Join(dir, cursorName), encodeCursor(1<<20, odd))
	s := open(t, Config{Dir: dir})
	if st := s.Stats(); st.Points != 10 || st.Restored != 10 {
		t.Errorf("%+v, want 10 of 20", st)
	}
}

// The set of numbers is that of a map, whatever is added.
func TestRangesAreASet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var set ranges
		all := map[uint64]bool{}
		for range 30 {
			first := r.Uint64N(30)
			last := first + r.Uint64N(6)
			set.add(first, last)
			set.add(first+1, first) // nothing
			for n := first; n <= last; n++ {
				all[n] = true
			}
			for n := range uint64(38) {
				if set.has(n) != all[n] {
					t.Fatalf("%v has(%d) = %v", set, n, set.has(n))
				}
			}
			for i := 1; i < len(set); i++ {
				if set[i].first <= set[i-1].last+1 {
					t.Fatalf("%v: spans touch", set)
				}
			}
		}
	}
}

// The oldest is that of all that waits, on disk or in memory.
func TestOldestOfAll(t *testing.T) {
	s, _ := onDisk(t, Config{SyncEvery: time.Hour, MaxBytes: 64 << 10})
	put := func(at int64) { s.Put(0, 1, time.Unix(at, 0), make([]byte, 10)) }
	oldest := func(want int64) {
		t.Helper()
		if at := s.Stats().Oldest; !at.Equal(time.Unix(want, 0)) {
			t.Errorf("the oldest is of %v, want %d", at, want)
		}
	}
	put(50)
	oldest(50)
	s.flush()
	put(70)
	oldest(50)
	put(40) // the clock was set back
	s.flush()
	oldest(40)
	put(45)
	s.flush()
	oldest(40)
}

// Segments are read in the order of their frames, whatever their files are named.
func TestSegmentsAreInOrder(t *testing.T) {
	dir := t.TempDir()
	segs := fill(t, dir, 100, 2048)
	if err := os.Rename(segs[0], filepath.Join(dir, "00000000000000ff"+suffix)); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir, MaxPoints: 1})
	if got := drain(t, s); len(got) != 100 || !sort.IntsAreSorted(got) {
		t.Errorf("%v, want 0 to 99", got)
	}
	s.Put(0, 1, time.Now(), payload(100))
	s.flush()
	if _, err := os.Stat(filepath.Join(dir, "0000000000000100"+suffix)); err != nil {
		t.Error(err)
	}
}

// The list of a segment's frames is in memory while one of them waits, not longer, and while all
// of them are being delivered the next segment is read.
func TestListsOfSegments(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, MaxBytes: 64 << 10})
	for range 3 {
		s.Put(0, 1, time.Now(), make([]byte, 4<<10-frameExtra))
		s.Put(0, 1, time.Now(), make([]byte, 4<<10-frameExtra))
	}
	s.Close()
	s = open(t, Config{Dir: dir, MaxBytes: 64 << 10, SyncEvery: time.Hour})
	next := func(want int) *Batch {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b, err := s.Next(ctx, Backlog)
		if err != nil || b.Points != want {
			t.Fatalf("%+v, %v, want %d points", b, err, want)
		}
		return b
	}
	lists := func(want ...bool) {
		t.Helper()
		var got []bool
		for _, g := range s.segs {
			got = append(got, g.refs != nil)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("lists in memory: %v, want %v", got, want)
		}
	}
	lists(false, false, false)
	first := next(2)
	lists(true, false, false)
	second := next(2)
	lists(true, true, false)
	s.Ack(first)
	third := next(2)
	lists(false, true, true)
	s.Back(second)
	second = next(2)
	s.Ack(second)
	s.Ack(third)
	s.flush()
	if st := s.Stats(); st.Segments != 0 || st.Points != 0 {
		t.Errorf("%+v", st)
	}
}

// An error of the disk is no damage.
func TestReadErrorIsNoDamage(t *testing.T) {
	frame := appendFrame(nil, ref{seq: 1, points: 1, since: 1}, payload(0))
	all := append(append([]byte("junk"), frame...), bytes.Repeat([]byte("x"), 600<<10)...)
	for _, from := range []int64{0, 4, 300 << 10, 599 << 10} {
		if refs, holes, err := scan(failing{bytes.NewReader(all), from}, int64(len(all))); !errors.Is(err, syscall.EIO) {
			t.Errorf("unreadable from %d: %d frames, %d holes, %v", from, len(refs), len(holes), err)
		}
	}
	if _, err := readFrame(failing{bytes.NewReader(frame), 0}, "x", ref{seq: 1, length: 9}); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

// failing cannot be read where a read has a byte behind from.
type failing struct {
	io.ReaderAt
	from int64
}

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.from {
		return 0, syscall.EIO
	}
	return f.ReaderAt.ReadAt(b, off)
}

// What is damaged is logged when the spool is opened, and nothing else is.
func TestDamageIsLoggedAtOpen(t *testing.T) {
	dir := t.TempDir()
	seg := fill(t, dir, 3, 8<<20)[0]
	said := func() int {
		var log logtest.Buffer
		s := open(t, Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer s.Close()
		return strings.Count(log.String(), "\n")
	}
	if n := said(); n != 0 {
		t.Errorf("%d lines about a spool that is whole", n)
	}
	b, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	write(t, seg, append([]byte("x"), b...))
	if n := said(); n != 1 {
		t.Errorf("%d lines about a damaged spool, want 1", n)
	}
}

// What a damaged segment holds that is not a frame is kept, up to a number of bytes in all.
func TestQuarantineLimit(t *testing.T) {
	for extra, want := range []int{2, 1} {
		dir := t.TempDir()
		seg := fill(t, dir, 3, 8<<20)[0]
		b, err := os.ReadFile(seg)
		if err != nil {
			t.Fatal(err)
		}
		first := len(payload(0)) + frameExtra
		write(t, seg, slices.Concat(b[:first], []byte("no frame"), b[first:]))
		at := filepath.Join(dir, quarantineName)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		before := filepath.Join(at, "before")
		write(t, before, nil)
		if err := os.Truncate(before, int64(maxQuarantine-len("no frame")+extra)); err != nil {
			t.Fatal(err)
		}
		s := open(t, Config{Dir: dir})
		if st := s.Stats(); st.Holes != 1 || st.HoleBytes != 8 || st.Points != 3 {
			t.Errorf("%+v", st)
		}
		entries, err := os.ReadDir(at)
		if err != nil || len(entries) != want {
			t.Errorf("%d bytes over: %d files, want %d; %v", extra, len(entries), want, err)
		}
		kept, err := os.ReadFile(filepath.Join(at, fmt.Sprintf("0000000000000001-%d.bad", first)))
		if want == 2 && (err != nil || string(kept) != "no frame") {
			t.Errorf("%q, %v", kept, err)
		}
	}
}

// A segment that is removed while it waits counts as damaged, with all that it had, and no other.
func TestRemovedSegmentIsCounted(t *testing.T) {
	dir := t.TempDir()
	segs := fill(t, dir, 200, 2048)
	s := open(t, Config{Dir: dir})
	all := s.Stats().Points
	left := 0
	for _, seg := range segs[1:] {
		infos, err := Inspect(dir, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			if i.Name == filepath.Base(seg) {
				left += len(i.Frames)
			}
		}
	}
	if err := os.Remove(segs[0]); err != nil {
		t.Fatal(err)
	}
	gone := *s.segs[0]
	got := drain(t, s)
	for n := gone.first; n <= gone.last; n++ {
		if !s.done.has(n) {
			t.Errorf("the numbers %d to %d are gone, and %v are done", gone.first, gone.last, s.done)
		}
	}
	if st := s.Stats(); len(got) != left || int(st.Damaged) != all-left || st.Frames != 0 {
		t.Errorf("%d delivered, want %d; %+v", len(got), left, st)
	}
}

// Inspect counts each hole and its bytes, and lists segments in the order of their frames.
func TestInspectHoles(t *testing.T) {
	dir := t.TempDir()
	segs := fill(t, dir, 100, 2048)
	b, err := os.ReadFile(segs[1])
	if err != nil {
		t.Fatal(err)
	}
	write(t, segs[1], append(append([]byte("four"), b...), "sixsix"...))
	if err := os.Rename(segs[0], filepath.Join(dir, "00000000000000ff"+suffix)); err != nil {
		t.Fatal(err)
	}
	infos, err := Inspect(dir, false, nil)
	if err != nil || len(infos) != len(segs) {
		t.Fatalf("%+v, %v", infos, err)
	}
	next := uint64(1)
	for _, i := range infos {
		holes, lost, bytes := 0, int64(0), int64(0)
		if i.Name == filepath.Base(segs[1]) {
			holes, lost, bytes = 2, 10, 10
		}
		for _, f := range i.Frames {
			if f.Number != next || f.Points != 1 || f.Since.UnixNano() != int64(next) || f.Bytes != len(payload(int(next-1))) || f.Kind != byte((next-1)%2) {
				t.Errorf("%+v, want number %d", f, next)
			}
			next++
			bytes += int64(f.Bytes) + frameExtra
		}
		if i.Holes != holes || i.Lost != lost || i.Bytes != bytes {
			t.Errorf("%s: %d holes of %d bytes, %d bytes; want %d, %d, %d", i.Name, i.Holes, i.Lost, i.Bytes, holes, lost, bytes)
		}
	}
	if next != 101 {
		t.Errorf("%d frames", next-1)
	}
	wrong := errors.New("enough")
	if _, err := Inspect(dir, true, func(FrameInfo, []byte) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("%v, want that of the caller", err)
	}
}

// hookFS calls before and after the next Open.
type hookFS struct {
	*memFS
	before, after func()
	fails         bool // to read what was opened
}

func (h *hookFS) Open(path string) (openFile, error) {
	before, after := h.before, h.after
	h.before, h.after = nil, nil
	if before != nil {
		before()
	}
	f, err := h.memFS.Open(path)
	if after != nil {
		after()
		if h.fails {
			f = unreadable{f}
		}
	}
	return f, err
}

type unreadable struct{ openFile }

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

// The limits drop the oldest segment while its batches are being read: they are delivered if
// they could be read, else they count as dropped, and not as damaged.
func TestSegmentIsDroppedWhileItIsRead(t *testing.T) {
	f := func(before, fails bool, dropped int) {
		t.Helper()
		h := &hookFS{memFS: newMemFS(), fails: fails}
		cfg := Config{Dir: "/s", fs: h, MaxBytes: 64 << 10, SyncEvery: time.Hour}
		s := open(t, cfg)
		for i := range 16 {
			s.Put(0, 1, time.Now(), bytes.Repeat([]byte{byte(i)}, 4<<10-frameExtra))
		}
		s.Close()
		s = open(t, cfg)
		s.load(s.segs[0])
		drop := func() {
			s.Put(0, 7, time.Now(), make([]byte, 10))
			s.flush()
		}
		if before {
			h.before = drop
		} else {
			h.after = drop
		}
		b, err := s.Next(t.Context(), Backlog)
		if err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); b.Points != 2 || int(b.Data[0]) != dropped || int(st.Dropped) != dropped || st.Damaged != 0 || st.Points != 16+7-dropped || st.Segments != 8 {
			t.Errorf("%d points from %d on, %+v", b.Points, b.Data[0], st)
		}
		s.Ack(b)
		if st := s.Stats(); st.Points != 16+7-2-dropped || st.Frames != 16+1-2-dropped || st.DiskErrors != uint64(sets.Bit(fails)) {
			t.Errorf("%+v", st)
		}
	}
	f(true, false, 2)
	f(false, false, 0)
	f(false, true, 2)
}

// A batch that is being delivered from memory when its segment is dropped counts as not on disk
// until then, and is lost to nobody.
func TestLeasedBatchOfADroppedSegment(t *testing.T) {
	const size = 4<<10 - frameExtra
	s, _ := onDisk(t, Config{MaxBytes: 64 << 10, MaxPoints: 2})
	for range 16 {
		s.Put(0, 1, time.Now(), make([]byte, size))
	}
	b, err := s.Next(t.Context(), Fresh)
	if err != nil || b.Points != 2 {
		t.Fatalf("%+v, %v", b, err)
	}
	s.Put(0, 1, time.Now(), make([]byte, 10))
	if st := s.Stats(); st.Unsynced != 2*size || st.Dropped != 0 || st.Points != 17 || st.Memory != 16*size+10 {
		t.Errorf("while it is delivered: %+v", st)
	}
	s.Ack(b)
	if st := s.Stats(); st.Unsynced != 0 || st.Dropped != 0 || st.Points != 15 || st.Frames != 15 || st.Memory != 14*size+10 {
		t.Errorf("afterwards: %+v", st)
	}
	s.flush()
	if got := s.Stats(); got.Segments != 8 {
		t.Errorf("%+v", got)
	}
}

// An old segment goes alone: the one that is written to is continued.
func TestOldSegmentGoesAlone(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	s, _ := onDisk(t, Config{MaxBytes: 64 << 10, MaxAge: time.Hour, now: clock.now})
	s.Put(0, 1, clock.now(), make([]byte, 8<<10-frameExtra))
	clock.add(time.Hour)
	s.Put(0, 1, clock.now(), []byte("a"))
	clock.add(1)
	s.Put(0, 1, clock.now(), []byte("b"))
	if st := s.Stats(); st.Segments != 1 || st.Dropped != 1 || st.Points != 2 {
		t.Errorf("%+v, want one segment with two batches", st)
	}
	clock.add(time.Hour + 1)
	s.flush()
	if st := s.Stats(); st.Segments != 0 || st.Dropped != 3 || st.Points != 0 || st.Frames != 0 {
		t.Errorf("%+v, want nothing", st)
	}
	s.Put(0, 1, clock.now(), []byte("c"))
	if st := s.Stats(); st.Segments != 1 || st.Err != nil {
		t.Errorf("%+v", st)
	}
}

// The cursor is written when it has changed, and only where there is a segment.
func TestCursorIsWrittenWhenItChanged(t *testing.T) {
	s, m := onDisk(t, Config{SyncEvery: time.Hour, MaxPoints: 1})
	writes := func() (n int) {
		t.Helper()
		before := m.ops
		s.flush()
		return m.ops - before
	}
	s.Put(0, 1, time.Now(), []byte("a"))
	b, err := s.Next(t.Context(), Fresh)
	if err != nil {
		t.Fatal(err)
	}
	s.Ack(b)
	if n := writes(); n != 0 {
		t.Errorf("%d operations of the disk for a batch that was delivered before it was written", n)
	}
	s.Put(0, 1, time.Now(), []byte("b"))
	s.Put(0, 1, time.Now(), []byte("c"))
	writes()
	if n := writes(); n != 0 {
		t.Errorf("%d operations though nothing has changed", n)
	}
	if b, err = s.Next(t.Context(), Fresh); err != nil {
		t.Fatal(err)
	}
	s.Ack(b)
	if n := writes(); n == 0 {
		t.Error("a delivered batch is not noted")
	}
	if n := writes(); n != 0 {
		t.Errorf("%d operations though nothing has changed", n)
	}
}

// The limit of the disk holds where segments are not full, where a batch needs the room of
// several, and for segments of an earlier process.
func TestDiskLimitAlways(t *testing.T) {
	const most = 64 << 10
	cfg := Config{MaxBytes: most, SyncEvery: time.Hour}
	s, m := onDisk(t, cfg)
	for range 50 {
		s.Put(0, 1, time.Now(), make([]byte, 2560-frameExtra)) // three in a segment
	}
	s.flush()
	if st := s.Stats(); st.Disk > most || st.Disk < most-8<<10 || int(st.Dropped)+st.Points != 50 || st.DiskErrors != 0 {
		t.Errorf("%+v", st)
	}
	s.Put(0, 1, time.Now(), make([]byte, 20<<10))
	s.flush()
	if st := s.Stats(); st.Disk > most || int(st.Dropped)+st.Points != 51 {
		t.Errorf("a large batch: %+v", st)
	}
	s.Close()
	before := s.Stats()
	cfg.Dir, cfg.fs = "/s", m
	s = open(t, cfg)
	s.Put(0, 1, time.Now(), make([]byte, 20<<10))
	s.flush()
	if st := s.Stats(); st.Disk > most || st.Dropped == 0 || int(st.Dropped)+st.Points != before.Points+1 || st.Frames != st.Points {
		t.Errorf("opened again: %+v, before %+v", st, before)
	}
}

// All is written at a flush, though the clock was set back.
func TestFlushAfterTheClockWasSetBack(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	s, _ := onDisk(t, Config{SyncEvery: time.Hour, now: clock.now})
	s.Put(0, 1, clock.now(), payload(0))
	clock.add(-time.Minute)
	s.flush()
	if st := s.Stats(); st.Unsynced != 0 {
		t.Errorf("%+v", st)
	}
}

// After a batch was written in part the next ones go to another segment, and the part is gone.
func TestPartOfABatchIsCutOff(t *testing.T) {
	s, m := onDisk(t, Config{SyncEvery: time.Hour})
	writes := 0
	m.fail = func(_ int, what, name string) error {
		if what == "write" && strings.HasSuffix(name, suffix) {
			if writes++; writes == 2 {
				return enospc
			}
		}
		return nil
	}
	for i := range 4 {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	s.flush()
	if st := s.Stats(); st.DiskErrors != 1 || st.Unsynced == 0 || st.Points != 4 {
		t.Errorf("%+v", st)
	}
	tryNow(s)
	if st := s.Stats(); st.DiskErrors != 1 || st.Unsynced != 0 || st.Segments != 2 || st.Err != nil {
		t.Errorf("%+v", st)
	}
	s.Close()
	s = open(t, Config{Dir: "/s", fs: m})
	if st := s.Stats(); st.Holes != 0 || st.Points != 4 {
		t.Errorf("%+v, want all and nothing else", st)
	}
	if got := drain(t, s); len(got) != 4 {
		t.Errorf("%v", got)
	}
}

// A segment of which all is delivered has no oldest batch.
func TestOldestOfSegments(t *testing.T) {
	s, _ := onDisk(t, Config{MaxBytes: 64 << 10, MaxPoints: 1})
	s.Put(0, 1, time.Unix(50, 0), make([]byte, 8<<10-frameExtra))
	s.Put(0, 1, time.Unix(60, 0), []byte("b"))
	for range 2 {
		b, err := s.Next(t.Context(), Fresh)
		if err != nil {
			t.Fatal(err)
		}
		if b.Since.Unix() == 60 {
			s.Ack(b)
		}
	}
	if at := s.Stats().Oldest; at.Unix() != 50 {
		t.Errorf("the oldest is of %v", at)
	}
}
