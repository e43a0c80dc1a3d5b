package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrLocked means that another process uses the spool.
var ErrLocked = errors.New("the spool is in use")

// FS is the file system of a spool: the real one, or a test's that fails on demand. Its methods
// may be called by several goroutines.
type FS interface {
	MkdirAll(dir string) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Create creates a file and fails if it exists.
	Create(path string) (File, error)
	Open(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes creations, renames and removals in a folder durable.
	SyncDir(dir string) error
	// Lock locks a folder for this process, or fails with ErrLocked.
	Lock(path string) (io.Closer, error)
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.Writer
	io.Closer
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// OS is the file system of the machine.
type OS struct{}

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

func (OS) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o700) }
func (OS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (OS) Rename(from, to string) error              { return os.Rename(from, to) }
func (OS) Remove(path string) error                  { return os.Remove(path) }

// Create creates a file that only the owner may read.
func (OS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open opens a file for reading.
func (OS) Open(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// SyncDir syncs a folder.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
