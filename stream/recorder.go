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

// The names of a recording's files: when each was begun, in UTC, and what is
// added to it while it is open.
const (
	recordingTime   = "2006-01-02_15-04-05_UTC"
	recordingSuffix = ".json.gz"
	openSuffix      = ".tmp"
	repairSuffix    = ".repair"
)

// rotateEvery is how much time one file has.
const rotateEvery = time.Hour

// Recorder writes events to files, <dir>/<monitor>/<time>.json.gz, a new one
// each hour. A file has its name only when it is whole; until then it ends in
// .tmp. Not for several goroutines at once.
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

// NewRecorder makes the folder of a monitor, or continues in it: a file that a
// recorder left open when it was killed is repaired first, which keeps what of
// it can be read. One recorder at a time may write to a folder.
func NewRecorder(dir, monitor string) (*Recorder, error) {
	r := &Recorder{dir: filepath.Join(dir, FolderName(monitor)), now: time.Now}
	if err := os.MkdirAll(r.dir, 0o750); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(r.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o640)
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

// FolderName makes the name of a folder from a monitor's name: letters, digits,
// "-", "_" and inner dots stay, the rest becomes "_".
func FolderName(monitor string) string {
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

// Dir is the folder that is written to.
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

// begin opens a file of a name that is not there yet.
func (r *Recorder) begin(now time.Time) error {
	for at := now; ; at = at.Add(time.Second) {
		name := filepath.Join(r.dir, at.Format(recordingTime)+recordingSuffix)
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		f, err := os.OpenFile(name+openSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
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

// Flush gives what was added to the operating system, so that a killed recorder
// loses nothing of it, and finishes the file if its hour is over. Call it every
// few seconds.
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

// over says whether the hour of the open file is.
func (r *Recorder) over(now time.Time) bool {
	return !now.UTC().Truncate(rotateEvery).Equal(r.begun.Truncate(rotateEvery))
}

// finish closes the file and gives it its name.
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

// rename renames a file for good: also after a loss of power.
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

// Close finishes the file. It may be called again.
func (r *Recorder) Close() error {
	err := r.finish()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close()) // and with it the lock
		r.lock = nil
	}
	return err
}

// repair finishes what a killed recorder has left.
func (r *Recorder) repair() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	// A file that was being repaired has no name yet: repairing begins again.
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
		return os.Remove(path) // it was repaired, and then came another kill
	}
	out, err := os.OpenFile(path+repairSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer out.Close()
	zip := gzip.NewWriter(out)
	lines := 0
	err = readLines(path, func(line []byte) error {
		if !strings.HasSuffix(string(line), "\n") {
			return nil // the last one, cut off
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

// DamagedError says that a file of a recording ends before its end.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("recording: %s cannot be read to its end: %v", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

var _ io.Closer = (*Recorder)(nil)
