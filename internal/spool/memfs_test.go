package spool

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"
)

// memFS is a file system in memory that knows what a power cut would leave, and
// fails where a test says.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*memData // as programs see it
	durable map[string]*memData // as the disk has it
	ops     int
	fail    func(op int, what, name string) error // nil: no failure
}

type memData struct{ now, synced []byte }

func newMemFS() *memFS {
	return &memFS{names: map[string]*memData{}, durable: map[string]*memData{}}
}

// op counts an operation and returns the failure that is due.
func (m *memFS) op(what, name string) error {
	m.ops++
	if m.fail == nil {
		return nil
	}
	return m.fail(m.ops, what, filepath.Base(name))
}

// powerCut returns the file system after a power cut: what was not synced is gone,
// or there in part.
func (m *memFS) powerCut(part int) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	for name, d := range m.durable {
		b := append([]byte(nil), d.synced...)
		if part > 0 && len(d.now) > len(b) {
			b = append(b, d.now[len(b):len(b)+(len(d.now)-len(b))/part]...)
		}
		after.names[name] = &memData{now: b, synced: b}
	}
	after.durable = maps.Clone(after.names)
	return after
}

func (m *memFS) MkdirAll(string) error { return nil }

type memEntry struct {
	name string
	size int64
}

func (e memEntry) Name() string               { return e.name }
func (e memEntry) IsDir() bool                { return false }
func (e memEntry) Type() fs.FileMode          { return 0 }
func (e memEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e memEntry) Size() int64                { return e.size }
func (e memEntry) Mode() fs.FileMode          { return 0 }
func (e memEntry) ModTime() time.Time         { return time.Time{} }
func (e memEntry) Sys() any                   { return nil }

func (m *memFS) ReadDir(dir string) (out []fs.DirEntry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, d := range m.names {
		if filepath.Dir(name) == dir {
			out = append(out, memEntry{filepath.Base(name), int64(len(d.now))})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}

func (m *memFS) Create(path string) (openFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("create", path); err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	if m.names[path] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	d := &memData{}
	m.names[path] = d
	return &memFile{m, d, path}, nil
}

func (m *memFS) Open(path string) (openFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.names[path]; d != nil {
		return &memFile{m, d, path}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("rename", from); err != nil {
		return err
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] == nil {
		return fs.ErrNotExist
	}
	if err := m.op("remove", path); err != nil {
		return err
	}
	delete(m.names, path)
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.op("syncdir", dir); err != nil {
		return err
	}
	m.durable = maps.Clone(m.names)
	return nil
}

func (m *memFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

type memFile struct {
	m    *memFS
	d    *memData
	name string
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off >= int64(len(f.d.now)) {
		return 0, io.EOF
	}
	n := copy(b, f.d.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(b []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.op("write", f.name); err != nil {
		n := len(b) / 2 // the disk took a part
		f.d.now = append(f.d.now, b[:n]...)
		return n, err
	}
	f.d.now = append(f.d.now, b...)
	return len(b), nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.op("sync", f.name); err != nil {
		return err
	}
	f.d.synced = append([]byte(nil), f.d.now...)
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.op("truncate", f.name); err != nil {
		return err
	}
	f.d.now = f.d.now[:min(size, int64(len(f.d.now)))]
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.d.now)), nil
}

func (f *memFile) Close() error { return nil }

var errCut = errors.New("power is cut")

const enospc = syscall.ENOSPC
