package spool

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inMounts runs the calling test again in a process with mounts of its own, and
// reports whether the caller is that process. Where the system allows no such
// process it says so: what the test has in memory must do.
func inMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv("SPOOL_TEST_MOUNTS") != "" {
		if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	again := func(flags uintptr) ([]byte, error) {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "SPOOL_TEST_MOUNTS=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		return cmd.CombinedOutput()
	}
	out, err := again(syscall.CLONE_NEWNS)
	if errors.Is(err, syscall.EPERM) {
		out, err = again(syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER)
	}
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ENOSPC):
		t.Logf("no mounts of our own here (%v): the same in memory was tested", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Fatalf("it did not run:\n%s", out)
	}
	return false
}

// readOnly is R9 at the start: a spool with four batches on a file system that
// has become read-only meanwhile, and is made writable later.
func readOnly(t *testing.T, cfg Config, set func(on bool)) {
	cfg.SyncEvery = 0
	s := open(t, cfg)
	for i := range 4 {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	if st := s.Stats(); st.Err != nil || st.Unsynced != 0 {
		t.Fatalf("while it is writable %+v", st)
	}
	s.Close()
	set(true)
	s = open(t, cfg)
	for i := 4; i < 8; i++ {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	if st := s.Stats(); !errors.Is(st.Err, syscall.EROFS) || !strings.Contains(st.Err.Error(), cfg.Dir) || st.Dropped != 0 || st.Unsynced == 0 {
		t.Errorf("read-only: %+v", st)
	}
	b, err := s.Next(t.Context(), Fresh) // memory works
	if err != nil || b.Points == 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	s.Back(b)
	set(false)
	tryNow(s)
	if st := s.Stats(); st.Err != nil || st.Unsynced != 0 || st.Dropped != 0 || st.Points != 8 {
		t.Errorf("writable again: %+v", st)
	}
	s.Close()
	if got := drain(t, open(t, Config{Dir: cfg.Dir, fs: cfg.fs})); distinct(got) != 8 || len(got) != 8 {
		t.Errorf("%v, want all of 8 once", got)
	}
}

// tryNow has the disk tried again as if the second until then were over.
func tryNow(s *Spool) {
	s.disk.Lock()
	s.retryAt = time.Time{}
	s.disk.Unlock()
	s.flush()
}

// erofs makes all that changes a file system in memory fail.
func erofs(m *memFS) func(on bool) {
	return func(on bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.fail = nil
		if on {
			m.fail = func(_ int, _, name string) error {
				return &os.PathError{Op: "change", Path: "/s/" + name, Err: syscall.EROFS}
			}
		}
	}
}

// R9: a real mount is read-only when the spool is opened.
func TestFaultR9ReadOnlyMount(t *testing.T) {
	m := newMemFS()
	readOnly(t, Config{Dir: "/s", fs: m}, erofs(m))
	if !inMounts(t) {
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	readOnly(t, Config{Dir: filepath.Join(dir, "spool")}, func(on bool) {
		flags := uintptr(syscall.MS_REMOUNT | syscall.MS_BIND)
		if on {
			flags |= syscall.MS_RDONLY
		}
		if err := syscall.Mount("", dir, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	})
}

// R9: the file system becomes read-only in flight, as ext4 does after an error.
// In memory, since Linux lets nobody ask for it while files are open.
func TestFaultR9ReadOnlyInFlight(t *testing.T) {
	m := newMemFS()
	set := erofs(m)
	s := open(t, Config{Dir: "/s", fs: m, SyncEvery: 0})
	for i := range 4 {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	set(true)
	for i := 4; i < 8; i++ {
		s.Put(byte(i%2), 1, time.Now(), payload(i))
	}
	if st := s.Stats(); !errors.Is(st.Err, syscall.EROFS) || !strings.Contains(st.Err.Error(), "/s/") || st.Points != 8 || st.Dropped != 0 {
		t.Errorf("read-only: %+v", st)
	}
	set(false)
	tryNow(s)
	if st := s.Stats(); st.Err != nil || st.Unsynced != 0 {
		t.Errorf("writable again: %+v", st)
	}
	s.Close()
	if got := drain(t, open(t, Config{Dir: "/s", fs: m})); distinct(got) != 8 || len(got) != 8 {
		t.Errorf("%v, want all of 8 once", got)
	}
}

// R9: the process has no descriptor left, in flight and at the start, and then
// has some again.
func TestFaultR9Rlimit(t *testing.T) {
	if os.Getenv("SPOOL_TEST_RLIMIT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "SPOOL_TEST_RLIMIT=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// Segments of 8 KiB, so that a few batches need a new file.
	s := open(t, Config{Dir: filepath.Join(dir, "spool"), SyncEvery: 0, MaxBytes: 64 << 10})
	n := 0
	put := func(until func() bool) {
		for ; !until(); n++ {
			if n > 10_000 {
				t.Fatalf("%+v", s.Stats())
			}
			s.Put(byte(n%2), 1, time.Now(), payload(n))
		}
	}
	put(func() bool { return s.Stats().Segments == 2 })
	var held []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, f)
	}
	put(func() bool { return s.Stats().Err != nil })
	if st := s.Stats(); !errors.Is(st.Err, syscall.EMFILE) || !strings.Contains(st.Err.Error(), s.cfg.Dir) || st.Dropped != 0 || st.Points != n {
		t.Errorf("in flight: %+v of %d", st, n)
	}
	at := open(t, Config{Dir: filepath.Join(dir, "second"), SyncEvery: 0})
	at.Put(0, 1, time.Now(), payload(0))
	if st := at.Stats(); !errors.Is(st.Err, syscall.EMFILE) || !strings.Contains(st.Err.Error(), at.cfg.Dir) || st.Points != 1 {
		t.Errorf("at the start: %+v", st)
	}
	for _, f := range held {
		f.Close()
	}
	for _, one := range []*Spool{s, at} {
		tryNow(one)
		if st := one.Stats(); st.Err != nil || st.Unsynced != 0 || st.Dropped != 0 {
			t.Errorf("with descriptors again: %+v", st)
		}
	}
	at.Close()
	if got := drain(t, s); distinct(got) != n || len(got) != n {
		t.Errorf("%d batches, want all of %d once", len(got), n)
	}
}
