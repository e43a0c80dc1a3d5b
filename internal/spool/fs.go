package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// errLocked means that another process uses the spool.
var errLocked = errors.New("the spool is in use")

// fileSystem is the file system of a spool: the real one, or a test's that fails on demand. Its methods
// may be called by several goroutines.
type fileSystem interface {
	MkdirAll(dir string) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Create creates a file and fails if it exists.
	Create(path string) (openFile, error)
	Open(path string) (openFile, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes creations, renames and removals in a folder durable.
	SyncDir(dir string) error
	// Lock locks a folder for this process, or fails with errLocked.
	Lock(path string) (io.Closer, error)
}

// openFile is an open file of a fileSystem.
type openFile interface {
	io.ReaderAt
	io.Writer
	io.Closer
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// osFS is the file system of the machine.
type osFS struct{}

type osFile struct{ *os.File }

// Size of the file in bytes.
func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return st.Size(), nil
}

func (osFS) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o700) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (osFS) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFS) Remove(path string) error                  { return os.Remove(path) }

// Create creates a file that only the owner may read.
func (osFS) Create(path string) (openFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open opens a file for reading.
func (osFS) Open(path string) (openFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// SyncDir syncs a folder.
func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
