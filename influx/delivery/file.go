package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// lineFile appends lines to a file, or to standard output where path is empty.
type lineFile struct {
	p     *unacked
	path  string
	f     *os.File
	size  int64     // of a file with a path
	retry time.Time // when to open it again
	err   error     // why not sooner
}

func (l *lineFile) open() error {
	if l.f != nil {
		return nil
	}
	if l.path == "" {
		out := l.p.set.Stdout
		if out == nil {
			out = os.Stdout
		}
		// Go ends the process on a write to a broken pipe through the descriptor of standard
		// output; through another descriptor it is an ordinary error.
		fd, err := syscall.Dup(int(out.Fd()))
		if err != nil {
			return fmt.Errorf("open standard output: %w", err)
		}
		syscall.CloseOnExec(fd)
		l.f = os.NewFile(uintptr(fd), "standard output")
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file; the URL stdout: is for pipes", l.path)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, info.Size()
	return nil
}

func (l *lineFile) write(_ context.Context, _ schema.Kind, lines []byte) {
	points := bytes.Count(lines, []byte{'\n'})
	if l.f == nil && time.Now().Before(l.retry) {
		l.p.lost(points, l.err)
		return
	}
	err := l.open()
	if err == nil {
		var n int
		if n, err = l.f.Write(lines); err == nil {
			l.size += int64(n)
			l.p.ok(points)
			return
		}
		if l.path != "" && n > 0 {
			// A torn line may read as a complete one with another number in it.
			if cut := l.f.Truncate(l.size); cut != nil {
				err = errors.Join(err, cut)
			}
		}
		l.close()
	}
	l.err, l.retry = err, time.Now().Add(reopenEvery)
	l.p.lost(points, err)
}

// flush reopens the file if it was moved or removed.
func (l *lineFile) flush() {
	if l.f == nil || l.path == "" {
		return
	}
	now, err := os.Stat(l.path)
	mine, err2 := l.f.Stat()
	if err != nil || err2 != nil || !os.SameFile(now, mine) {
		l.close()
	}
}

func (l *lineFile) close() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
