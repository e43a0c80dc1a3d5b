package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/guard"
	"github.com/ipfsmon/ipfsmon/internal/paths"
)

// maxLine is the longest line of a recording, in bytes.
const maxLine = 16 << 20

// Recordings returns the finished files of a recording in the order of their
// time. dir is the folder of one monitor, or the folder above it if that has
// only one monitor.
func Recordings(dir string) ([]string, error) {
	files, err := recordingsIn(dir)
	if err != nil || len(files) > 0 {
		return files, err
	}
	monitors, err := RecordedMonitors(dir)
	if err != nil {
		return nil, err
	}
	switch len(monitors) {
	case 0:
		for _, at := range []string{"*", filepath.Join("*", "*")} {
			if open := paths.Glob(dir, at+recordingSuffix+openSuffix); len(open) > 0 {
				return nil, fmt.Errorf("recording: no *%s in %s yet: %s is still being written, or was left by a recorder that was killed and is finished by the next ipfsmon record into its folder", recordingSuffix, dir, open[0])
			}
		}
		return nil, fmt.Errorf("recording: no *%s in %s or in a folder in it", recordingSuffix, dir)
	case 1:
		return recordingsIn(filepath.Join(dir, monitors[0]))
	}
	return nil, fmt.Errorf("recording: %s has several monitors: want one of the folders %s", dir, strings.Join(monitors, ", "))
}

// RecordedMonitors returns the folders in a folder that have finished files of a recording: one for each monitor.
func RecordedMonitors(dir string) (monitors []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		inner, err := recordingsIn(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if len(inner) > 0 {
			monitors = append(monitors, e.Name())
		}
	}
	return monitors, nil
}

func recordingsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), recordingSuffix) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(files) // their names are times
	return files, nil
}

// reading recovers from panics while recordings, and frames from servers, are
// read.
var reading guard.Guard

// ReadRecording calls each with the events of a file, in their order, until each
// returns an error. It reads the lines of a Recorder, those of the old exporter's
// Rust client in either spelling, the frames of version 3, and the older lines of
// ipfs-tools, one JSONMessage each. bad counts lines that are none of these. If the file is damaged, each gets what comes before the
// damage, and the error is a *DamagedError.
func ReadRecording(path string, each func(*Event) error) (bad int, err error) {
	err = readLines(path, func(line []byte) error {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		e := new(Event)
		if reading.Call("stream: read a line of a recording", func() error { return decodeRecorded(line, e) }) != nil || !e.known() {
			bad++
			return nil
		}
		return each(e)
	})
	return bad, err
}

// readLines calls each with the lines of a file, including their line ends.
func readLines(path string, each func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	unzip, err := gzip.NewReader(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		return &DamagedError{path, err}
	}
	in := bufio.NewReaderSize(unzip, 64<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(long)+len(part) > maxLine {
			return &DamagedError{path, fmt.Errorf("a line of more than %d bytes", maxLine)}
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		if len(long) > 0 {
			part = append(long, part...)
			long = long[:0]
		}
		if len(part) > 0 {
			if err := each(part); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &DamagedError{path, err}
		}
	}
}

// Pace replays events with their original distances in time, divided by Speed.
// The zero value does not wait.
type Pace struct {
	Speed float64 // 1: original speed; 0: no waiting

	begin time.Time // when Wait was first called
	first time.Time // the first event's time
}

// Wait waits until the event with the time at is due. It returns the error of ctx
// if that ends first.
func (p *Pace) Wait(ctx context.Context, at time.Time) error {
	if p.Speed <= 0 {
		return ctx.Err()
	}
	if p.begin.IsZero() {
		p.begin, p.first = time.Now(), at
	}
	due := p.begin.Add(time.Duration(float64(at.Sub(p.first)) / p.Speed))
	left := time.Until(due)
	if left <= 0 {
		return ctx.Err()
	}
	return backoff.Sleep(ctx, left)
}
