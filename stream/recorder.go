package stream

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
)

// The names of a recording's files: the UTC time when the file was begun,
// and a suffix while the file is open.
const (
	recordingTime   = "2006-01-02_15-04-05_UTC"
	recordingSuffix = ".json.gz"
	openSuffix      = ".tmp"
	repairSuffix    = ".repair"
)

// rotateEvery is how much time one file covers.
const rotateEvery = time.Hour

// Recorder writes events to files, <dir>/<monitor>/<time>.json.gz, a new one
// each hour. A file gets this name when it is complete; until then its name ends
// in .tmp. A Recorder is for one goroutine at a time.
type Recorder struct {
	dir  string
	lock *os.File

	file   *os.File
	zip    *gzip.Writer
	begun  time.Time
	dirty  bool
	line   []byte
	now    func() time.Time
	Events uint64 // written
}

// NewRecorder opens the folder of a monitor, and makes it if needed. A file that
// a killed recorder left open is repaired first: what can be read of it is kept.
// Only one recorder at a time may write to a folder.
func NewRecorder(dir, monitor string) (*Recorder, error) {
	r := &Recorder{dir: filepath.Join(dir, folderName(monitor)), now: time.Now}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(r.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("recording: %s: another recorder writes there: %w", r.dir, err)
	}
	r.lock = lock
	if err := r.repair(); err != nil {
		lock.Close()
		return nil, err
	}
	return r, nil
}

// folderName returns the name of a monitor's folder. Letters, digits, "-", "_"
// and inner dots of the monitor's name are kept, everything else becomes "_".
func folderName(monitor string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			return c
		}
		return '_'
	}, monitor)
	if name = strings.Trim(name, "."); name == "" {
		return "unknown"
	}
	return name[:min(len(name), 128)]
}

// Dir returns the folder that the recorder writes to.
func (r *Recorder) Dir() string { return r.dir }

// Add writes an event, to a new file if the hour is over.
func (r *Recorder) Add(e *Event) error {
	now := r.now().UTC()
	if r.file != nil && r.over(now) {
		if err := r.finish(); err != nil {
			return err
		}
	}
	if r.file == nil {
		if err := r.begin(now); err != nil {
			return err
		}
	}
	var err error
	if r.line, err = e.AppendJSON(r.line[:0]); err != nil {
		return fmt.Errorf("recording: encode an event: %w", err)
	}
	if _, err := r.zip.Write(r.line); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	r.dirty = true
	r.Events++
	return nil
}

// begin opens a new file.
func (r *Recorder) begin(now time.Time) error {
	for at := now; ; at = at.Add(time.Second) {
		name := filepath.Join(r.dir, at.Format(recordingTime)+recordingSuffix)
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		f, err := os.OpenFile(name+openSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("recording: %w", err)
		}
		r.file, r.begun = f, now
		if r.zip == nil {
			r.zip = gzip.NewWriter(f)
		} else {
			r.zip.Reset(f)
		}
		return nil
	}
}

// Flush writes what was added to the operating system, so that it survives when
// the process is killed, and finishes the file if its hour is over. Call it
// every few seconds.
func (r *Recorder) Flush() error {
	if r.file == nil {
		return nil
	}
	if r.over(r.now()) {
		return r.finish()
	}
	if !r.dirty {
		return nil
	}
	r.dirty = false
	if err := r.zip.Flush(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

// over reports whether the hour of the open file is over.
func (r *Recorder) over(now time.Time) bool {
	return !now.UTC().Truncate(rotateEvery).Equal(r.begun.Truncate(rotateEvery))
}

// finish closes the file and renames it to its final name.
func (r *Recorder) finish() error {
	f := r.file
	if f == nil {
		return nil
	}
	r.file, r.dirty = nil, false
	err := errors.Join(r.zip.Close(), f.Sync(), f.Close())
	if err == nil {
		err = r.rename(f.Name(), strings.TrimSuffix(f.Name(), openSuffix))
	}
	if err != nil {
		return fmt.Errorf("recording: finish %s: %w", f.Name(), err)
	}
	return nil
}

// rename renames a file so that the new name survives a loss of power.
func (r *Recorder) rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	d, err := os.Open(r.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close finishes the file. It may be called more than once.
func (r *Recorder) Close() error {
	err := r.finish()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close()) // releases the lock
		r.lock = nil
	}
	return err
}

// repair finishes the files that a killed recorder left open.
func (r *Recorder) repair() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	// A repair that was interrupted starts from the beginning.
	for _, e := range entries {
		path := filepath.Join(r.dir, e.Name())
		switch {
		case !e.Type().IsRegular():
		case strings.HasSuffix(path, recordingSuffix+openSuffix):
			err = r.repairFile(path)
		}
		if err != nil {
			return fmt.Errorf("recording: repair %s: %w", path, err)
		}
	}
	return nil
}

func (r *Recorder) repairFile(path string) (err error) {
	whole := strings.TrimSuffix(path, openSuffix)
	if _, err := os.Lstat(whole); err == nil {
		return os.Remove(path) // it was repaired before the process was killed again
	}
	out, err := os.OpenFile(path+repairSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	zip := gzip.NewWriter(out)
	lines := 0
	err = readLines(path, func(line []byte) error {
		if !strings.HasSuffix(string(line), "\n") {
			return nil // the last line, cut off
		}
		lines++
		_, err := zip.Write(line)
		return err
	})
	var damaged *DamagedError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	if err := errors.Join(zip.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if lines == 0 {
		return errors.Join(os.Remove(path+repairSuffix), os.Remove(path))
	}
	if err := r.rename(path+repairSuffix, whole); err != nil {
		return err
	}
	return os.Remove(path)
}

// DamagedError reports that a file of a recording is damaged or cut off.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("recording: %s cannot be read to its end: %v", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

var _ io.Closer = (*Recorder)(nil)
