package spool

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/disktest"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// child puts numbered batches as fast as it can and says which are synced.
func child(dir string) {
	s, err := Open(Config{Dir: dir, SyncEvery: 0, MaxBytes: 512 << 10, Log: quiet()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	from, _ := strconv.Atoi(os.Getenv("SPOOL_TEST_FROM"))
	for i := from; ; i++ {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
		if s.Stats().Unsynced == 0 {
			os.Stdout.WriteString(strconv.Itoa(i) + "\n")
		}
	}
}

// R1: the process is killed at random moments; what it said is on disk is
// there, whole, and nothing else is.
func TestFaultR1Kill(t *testing.T) {
	rounds := 20
	if os.Getenv("FAULTS") != "" {
		rounds = 200
	}
	dir, next := t.TempDir(), 0
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SPOOL_TEST_CHILD="+dir, "SPOOL_TEST_FROM="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := true
		synced := -1
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if synced, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if first {
				first = false
				p := cmd.Process
				time.AfterFunc(time.Duration(rand.IntN(30))*time.Millisecond, func() { _ = p.Kill() })
			}
		}
		_ = cmd.Wait()
		s := open(t, Config{Dir: dir})
		got := drain(t, s)
		seen := map[int]bool{}
		for _, n := range got {
			seen[n] = true
		}
		for n := next; n <= synced; n++ {
			if !seen[n] {
				t.Fatalf("batch %d of %d to %d is lost", n, next, synced)
			}
		}
		s.Close()
		next = synced + 2
	}
}

// R2: the power is cut at every write, sync, rename and removal; what was
// accepted (SyncEvery 0) is there afterwards.
func TestFaultR2PowerCut(t *testing.T) {
	for _, part := range []int{0, 1, 2, 3} { // of what was not synced
		for cut := 1; ; cut++ {
			m := newMemFS()
			m.fail = func(op int, _, _ string) error {
				if op >= cut {
					return errCut
				}
				return nil
			}
			s := open(t, Config{Dir: "/s", fs: m, SyncEvery: 0, MaxBytes: 64 << 10, MaxPoints: 3})
			accepted, acked := map[int]bool{}, map[int]bool{}
			for i := range 30 {
				s.Put(byte(i%2), 1, time.Unix(0, 1), append(payload(i), make([]byte, 0, 8)...))
				if s.Stats().Unsynced == 0 {
					accepted[i] = true
				}
				if i%5 == 4 {
					b, err := s.Next(t.Context(), Fresh)
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range b.frames {
						acked[int(f.seq)-1] = true
					}
					s.Ack(b)
					s.flush()
				}
			}
			m.mu.Lock()
			ops := m.ops
			m.mu.Unlock()
			if ops < cut {
				s.Close()
				break
			}
			after := m.powerCut(part)
			s.Close()
			var log logtest.Buffer
			s = open(t, Config{Dir: "/s", fs: after, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if strings.Contains(log.String(), "the cursor is damaged") {
				t.Fatalf("cut at %d: the cursor was renamed before it was on disk:\n%s", cut, log.String())
			}
			got := map[int]bool{}
			for _, n := range drain(t, s) {
				got[n] = true
			}
			for n := range accepted {
				if !got[n] && !acked[n] {
					t.Fatalf("cut at %d: batch %d was accepted and is lost", cut, n)
				}
			}
			s.Close()
		}
	}
}

// R3: a last frame torn at every length costs itself.
func TestFaultR3TornTail(t *testing.T) {
	dir := t.TempDir()
	seg := fill(t, dir, 5, 8<<20)[0]
	whole, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	last := len(payload(4)) + frameExtra
	for cut := 1; cut <= last; cut++ {
		to := t.TempDir()
		write(t, filepath.Join(to, filepath.Base(seg)), whole[:len(whole)-cut])
		if got := drain(t, open(t, Config{Dir: to})); fmt.Sprint(distinct(got)) != "4" {
			t.Fatalf("cut by %d: %v", cut, got)
		}
	}
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// R4: one flipped bit anywhere costs at most one frame, and no wrong byte is
// ever given out (number fails the test).
func TestFaultR4BitFlip(t *testing.T) {
	dir := t.TempDir()
	seg := fill(t, dir, 3, 8<<20)[0]
	whole, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	refs, _, err := scan(bytes.NewReader(whole), int64(len(whole)))
	if err != nil || len(refs) != 3 {
		t.Fatalf("%d frames, %v", len(refs), err)
	}
	for i := range whole {
		for _, bit := range []byte{1, 16, 128} {
			m := newMemFS()
			b := append([]byte(nil), whole...)
			b[i] ^= bit
			m.names["/s/"+filepath.Base(seg)] = &memData{now: b, synced: b}
			s := open(t, Config{Dir: "/s", fs: m})
			if got := drain(t, s); len(got) != 2 {
				t.Fatalf("bit %d of byte %d: %v, want two of three", bit, i, got)
			}
			st := s.Stats()
			if st.Damaged+st.Holes != 1 {
				t.Fatalf("bit %d of byte %d is not counted: %+v", bit, i, st)
			}
			var frame int64 // that has the bit
			for _, r := range refs {
				if r.off <= int64(i) {
					frame = r.off
				}
			}
			var corrupt *CorruptionError
			if !errors.As(st.Corruption, &corrupt) || corrupt.Segment != filepath.Base(seg) || corrupt.Offset != frame {
				t.Fatalf("bit %d of byte %d: %v, want a CorruptionError of %s at %d", bit, i, st.Corruption, filepath.Base(seg), frame)
			}
			s.Close()
		}
	}
}

// R5: whatever is in the folder, it opens, returns the intact frames, and counts.
func TestFaultR5Damage(t *testing.T) {
	const n = 200
	f := func(name string, least int, holes bool, damage func(dir string, segs []string)) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			segs := fill(t, dir, n, 2048)
			if len(segs) < 3 {
				t.Fatalf("%d segments", len(segs))
			}
			damage(dir, segs)
			s := open(t, Config{Dir: dir})
			got := drain(t, s)
			if distinct(got) < least || len(got) != distinct(got) {
				t.Errorf("%d batches, %d different, want %d at least", len(got), distinct(got), least)
			}
			if st := s.Stats(); holes != (st.Holes+st.Damaged > 0) || st.Err != nil {
				t.Errorf("stats %+v", st)
			}
			s.Put(0, 1, time.Now(), payload(1000))
			s.Close()
			if got := drain(t, open(t, Config{Dir: dir})); len(got) != 1 {
				t.Errorf("afterwards %v", got)
			}
		})
	}
	change := func(path string, do func(b []byte) []byte) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, do(b))
	}
	f("nothing", n, false, func(string, []string) {})
	f("a zeroed page", n-10, true, func(_ string, segs []string) {
		change(segs[1], func(b []byte) []byte { clear(b[1024:1536]); return b })
	})
	f("swapped pages", n-20, true, func(_ string, segs []string) {
		change(segs[1], func(b []byte) []byte {
			c := append([]byte(nil), b[512:1024]...)
			copy(b[512:], b[1024:1536])
			copy(b[1024:], c)
			return b
		})
	})
	f("a page twice", n-10, true, func(_ string, segs []string) {
		change(segs[1], func(b []byte) []byte { copy(b[512:1024], b[1024:1536]); return b })
	})
	f("garbage between frames", n, true, func(_ string, segs []string) {
		change(segs[0], func(b []byte) []byte {
			at := frameExtra + len(payload(0))
			junk := append(append([]byte{}, magic...), b[:headerSize]...) // with what looks like a frame
			return append(append(append([]byte{}, b[:at]...), junk...), b[at:]...)
		})
	})
	f("a segment twice", n, false, func(dir string, segs []string) {
		b, _ := os.ReadFile(segs[0])
		write(t, filepath.Join(dir, "00000000000000ff"+suffix), b)
	})
	f("a segment of the future", n, true, func(dir string, segs []string) {
		b, _ := os.ReadFile(segs[0])
		b = b[:frameExtra+len(payload(0))]
		b[4] = 99
		binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
		write(t, filepath.Join(dir, "0000000000000fff"+suffix), b)
	})
	f("a segment missing", n-90, false, func(_ string, segs []string) { os.Remove(segs[1]) })
	f("an empty segment", n-90, false, func(_ string, segs []string) { write(t, segs[1], nil) })
	f("junk files", n, false, func(dir string, _ []string) {
		write(t, filepath.Join(dir, "junk"), []byte("x"))
		write(t, filepath.Join(dir, "junk"+suffix), []byte("x"))
		write(t, filepath.Join(dir, "xxxxxxxxxxxxxxxx"+suffix), []byte("x"))
		write(t, filepath.Join(dir, "cursor.tmp"), []byte("x"))
	})
	f("a segment of junk", n, true, func(dir string, _ []string) {
		write(t, filepath.Join(dir, "0000000000000100"+suffix), []byte(strings.Repeat("junk", 1000)))
	})
	f("a folder named like a segment", n, false, func(dir string, _ []string) {
		if err := os.MkdirAll(filepath.Join(dir, "0000000000000abc"+suffix, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	})
}

// R6: a cursor that is missing, garbage or ahead of the data loses nothing.
func TestFaultR6Cursor(t *testing.T) {
	f := func(name string, cursor []byte) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, 20, 8<<20)
			path := filepath.Join(dir, cursorName)
			os.Remove(path)
			if cursor != nil {
				write(t, path, cursor)
			}
			s := open(t, Config{Dir: dir})
			s.Put(0, 1, time.Now(), payload(20))
			if got := drain(t, s); distinct(got) != 21 {
				t.Errorf("%d, want 21", distinct(got))
			}
		})
	}
	f("missing", nil)
	f("empty", []byte{})
	f("garbage", []byte("garbage that is longer than the shortest cursor there is"))
	torn := encodeCursor(10, ranges{{1, 9}})
	f("torn", torn[:len(torn)-3])
	torn[20] ^= 1
	f("flipped", torn)
	f("next is ahead", encodeCursor(1<<40, nil))
	f("spans are ahead", encodeCursor(1000, ranges{{500, 900}}))
	f("beyond all", encodeCursor(1<<63, ranges{{1, 1<<63 - 1}}))
	f("too long", make([]byte, 1<<20))
}

// R7: a full disk in the middle of a frame, at a new segment, at the cursor:
// nothing that was accepted is lost, and it continues when there is room.
func TestFaultR7Full(t *testing.T) {
	for _, what := range []string{"write", "create", "rename", "sync", "syncdir", "truncate", "remove"} {
		for nth := 1; nth <= 6; nth++ {
			m := newMemFS()
			s := open(t, Config{Dir: "/s", fs: m, SyncEvery: 0, MaxBytes: 64 << 10})
			count, full := 0, true
			m.fail = func(_ int, op, _ string) error {
				if op == what {
					count++
				}
				if full && count >= nth {
					return enospc
				}
				return nil
			}
			for i := range 20 {
				s.Put(byte(i%2), 1, time.Now(), append([]byte(nil), payload(i)...))
			}
			m.mu.Lock()
			full = false
			m.mu.Unlock()
			if count >= nth && (what == "write" || what == "create") && s.Stats().Err == nil {
				t.Errorf("%s %d: no error is reported", what, nth)
			}
			s.disk.Lock()
			s.retryAt = time.Time{} // a second is over
			s.disk.Unlock()
			s.flush()
			if st := s.Stats(); st.Err != nil || st.Unsynced != 0 || st.Dropped != 0 {
				t.Errorf("%s %d: with room again %+v", what, nth, st)
			}
			if lost := s.Close(); lost != 0 {
				t.Errorf("%s %d: %d lost", what, nth, lost)
			}
			if got := drain(t, open(t, Config{Dir: "/s", fs: m})); distinct(got) != 20 || len(got) != 20 {
				t.Errorf("%s %d: %v, want all of 20 once", what, nth, got)
			}
		}
	}
}

// R7 in memory: while the disk is full, memory has a bound, and what goes over
// it is counted.
func TestFaultR7MemoryBound(t *testing.T) {
	m := newMemFS()
	m.fail = func(int, string, string) error { return enospc }
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: time.Hour, MaxMemory: 10_000})
	for i := range 1000 {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	st := s.Stats()
	if st.Memory > 10_000 || st.Dropped == 0 || int(st.Dropped)+st.Points != 1000 {
		t.Errorf("%+v", st)
	}
	if lost := s.Close(); lost != st.Points {
		t.Errorf("%d lost in the end, want %d", lost, st.Points)
	}
	if st := s.Stats(); st.Dropped != 1000 {
		t.Errorf("%+v, want all counted as dropped", st)
	}
}

// R7 on a real file system that is full: a small tmpfs.
func TestFaultR7Tmpfs(t *testing.T) {
	dir := disktest.Small(t, "2m")
	s := open(t, Config{Dir: filepath.Join(dir, "spool"), SyncEvery: 0})
	line := []byte(strings.Repeat("x", 100<<10) + "\n")
	for range 40 { // 4 MB into 2 MB
		s.Put(0, 1, time.Now(), append([]byte(nil), line...))
	}
	st := s.Stats()
	if !errors.Is(st.Err, syscall.ENOSPC) || !strings.Contains(st.Err.Error(), dir) || st.Points != 40 || st.Disk == 0 {
		t.Errorf("%+v", st)
	}
	disktest.Resize(t, dir, "20m")
	time.Sleep(retryDisk)
	s.flush()
	if st := s.Stats(); st.Err != nil || st.Unsynced != 0 || st.Dropped != 0 {
		t.Errorf("with room again %+v", st)
	}
	s.Close()
	s = open(t, Config{Dir: filepath.Join(dir, "spool")})
	if st := s.Stats(); st.Points != 40 || st.Holes != 0 {
		t.Errorf("opened again %+v", st)
	}
	s.Close()
}

// R8: after an fsync that failed the file is not trusted: what was not synced
// goes to another one.
func TestFaultR8Sync(t *testing.T) {
	m := newMemFS()
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: 0})
	for i := range 4 {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	n := 0
	m.mu.Lock()
	m.fail = func(_ int, what, name string) error {
		if what == "sync" && strings.HasSuffix(name, suffix) && n == 0 {
			n++
			return syscall.EIO
		}
		return nil
	}
	m.mu.Unlock()
	s.Put(0, 1, time.Now(), payload(4))
	if st := s.Stats(); st.SyncErrors != 1 || !errors.Is(st.Err, syscall.EIO) || st.Unsynced == 0 || st.Points != 5 {
		t.Errorf("%+v", st)
	}
	s.disk.Lock()
	s.retryAt = time.Time{}
	s.disk.Unlock()
	s.flush()
	if st := s.Stats(); st.Segments != 2 || st.Unsynced != 0 || st.Err != nil {
		t.Errorf("%+v, want a second segment", st)
	}
	after := m.powerCut(0)
	s.Close()
	if got := drain(t, open(t, Config{Dir: "/s", fs: after})); distinct(got) != 5 || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

// R9: a folder that cannot be made, is no folder, or may not be opened: the
// error names it, memory does, and it is taken up when it works.
func TestFaultR9Unusable(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "spool")
	write(t, dir, []byte("in the way"))
	s := open(t, Config{Dir: dir, SyncEvery: 0})
	s.Put(0, 1, time.Now(), payload(0))
	b, err := s.Next(t.Context(), Fresh)
	if err != nil || b.Points != 1 {
		t.Fatalf("%+v, %v", b, err)
	}
	s.Put(1, 1, time.Now(), payload(1))
	if st := s.Stats(); st.Err == nil || !strings.Contains(st.Err.Error(), dir) || st.Points != 2 {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	// Another process was here and left something.
	fill(t, dir, 10, 8<<20)
	s.disk.Lock()
	s.retryAt = time.Time{}
	s.disk.Unlock()
	s.flush()
	if st := s.Stats(); st.Err != nil || st.Unsynced != 0 || st.Points != 12 || st.Restored != 10 {
		t.Errorf("usable again %+v", st)
	}
	s.Ack(b)
	if got := drain(t, s); len(got) != 11 {
		t.Errorf("%v, want those of before and the one that was not acknowledged", got)
	}
}

// R9: no file descriptors are left.
func TestFaultR9Descriptors(t *testing.T) {
	m := newMemFS()
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: 0})
	s.Put(0, 1, time.Now(), payload(0))
	m.mu.Lock()
	m.fail = func(_ int, what, name string) error {
		if what == "create" {
			return syscall.EMFILE
		}
		return nil
	}
	m.mu.Unlock()
	s.Put(1, 1, time.Now(), payload(1))
	if got := drain(t, s); len(got) != 2 {
		t.Errorf("%v", got)
	}
	s.flush()
	if st := s.Stats(); !errors.Is(st.Err, syscall.EMFILE) {
		t.Errorf("%+v", st)
	}
}

// R10: the second process is refused, with the first one's ID.
func TestFaultR10Lock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir})
	if !errors.Is(err, errLocked) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	s.Close()
	open(t, Config{Dir: dir})
}

// R11: the server is away for 72 hours; the oldest goes, and every point is
// either there or counted.
func TestFaultR11Outage(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	m := newMemFS()
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: 0, MaxBytes: 256 << 10, now: clock.now})
	n, size := 0, 0
	for range 72 * 60 {
		s.Put(byte(n%2), 1, clock.now(), append([]byte(nil), payload(n)...))
		size += len(payload(n))
		n++
		clock.add(time.Minute)
	}
	st := s.Stats()
	if st.Dropped == 0 || int(st.Dropped)+st.Points != n || st.Disk > 256<<10 || st.Disk < 128<<10 {
		t.Errorf("%+v of %d", st, n)
	}
	left := drain(t, s)
	bytes := 0
	for _, i := range left {
		bytes += len(payload(i))
		if i < int(st.Dropped) {
			t.Fatalf("%d is there, though not among the newest %d", i, st.Points)
		}
	}
	if len(left) != st.Points || int(st.DroppedBytes)+bytes != size {
		t.Errorf("%d left and %d bytes dropped; %+v", len(left), size-bytes, st)
	}
}

// R11: MaxAge.
func TestFaultR11Age(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	s := open(t, Config{Dir: "/s", fs: newMemFS(), SyncEvery: 0, MaxBytes: 64 << 10, MaxAge: time.Hour, now: clock.now})
	for i := range 300 {
		s.Put(byte(i%2), 1, clock.now(), append([]byte(nil), payload(i)...))
	}
	clock.add(59 * time.Minute)
	s.flush()
	if st := s.Stats(); st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	clock.add(2 * time.Minute)
	s.Put(0, 1, clock.now(), payload(300))
	if st := s.Stats(); st.Dropped != 300 || st.Points != 1 {
		t.Errorf("%+v", st)
	}
}

// R26: spools that earlier versions wrote are drained. Each version that was
// released has a folder.
func TestFaultR26Golden(t *testing.T) {
	dirs, err := os.ReadDir("testdata/golden")
	if err != nil || len(dirs) != version {
		t.Fatalf("%d golden folders for %d versions: %v", len(dirs), version, err)
	}
	for _, d := range dirs {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata/golden", d.Name()))); err != nil {
			t.Fatal(err)
		}
		got := drain(t, open(t, Config{Dir: dir}))
		if len(got) != 7 || contains(got, 0) || contains(got, 2) || contains(got, 4) {
			t.Errorf("%s: %v, want 10 without the delivered 0, 2 and 4", d.Name(), got)
		}
	}
}

// What is written today is what the golden folder holds, byte by byte.
func TestGoldenIsWhatWeWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, SyncEvery: 0, MaxPoints: 3})
	for i := range 10 {
		s.Put(byte(i%2), 1, time.Unix(0, int64(1_700_000_000_000_000_000+i)), payload(i))
	}
	b, err := s.Next(t.Context(), Fresh)
	if err != nil {
		t.Fatal(err)
	}
	s.Ack(b)
	s.Close()
	golden := "testdata/golden/v1"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(golden, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"0000000000000001" + suffix, cursorName} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("UPDATE_GOLDEN") != "" {
			write(t, filepath.Join(golden, name), got)
		}
		want, err := os.ReadFile(filepath.Join(golden, name))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s differs from the golden one (%v)", name, err)
		}
	}
}

// FuzzScan: whatever a segment holds, reading it ends, and returns only frames
// that are right.
func FuzzScan(f *testing.F) {
	one := appendFrame(nil, ref{seq: 1, points: 1, since: 1}, payload(0))
	two := appendFrame(one, ref{seq: 2, points: 1, since: 1, kind: 1}, payload(1))
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Add(append(one[:40:40], two...))
	f.Add([]byte("\xf5SP\xf6\xf5SP\xf6"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMemFS()
		m.names["/s/0000000000000001"+suffix] = &memData{now: b, synced: b}
		file, err := m.Open("/s/0000000000000001" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		refs, holes, err := scanAll(file, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		for _, h := range holes {
			at += h.to - h.from
		}
		for _, r := range refs {
			at += r.end() - r.off
			if _, err := readFrame(file, "", r); err != nil {
				t.Fatalf("a frame that is none: %+v", r)
			}
		}
		if at != int64(len(b)) {
			t.Fatalf("%d bytes accounted for, of %d", at, len(b))
		}
		s := open(t, Config{Dir: "/s", fs: m})
		s.Seal()
		for {
			batch, err := s.Next(t.Context(), Backlog)
			if err != nil {
				break
			}
			s.Ack(batch)
		}
		s.Close()
	})
}

var _ fs.FileInfo = memEntry{}
