// Package sources makes archives of what monitors and their stores have.
//
// In: files of recordings, the history of an InfluxDB. Out: an archive's files and a
// note of each source. Promised: a source is made whole or not at all, and once,
// however often it is asked for; damage of a recording is named, and what comes
// before it is kept.
package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Options are what sources have in common.
type Options struct {
	Dir        string // of the archive
	BinaryCIDs bool
}

// lookEvery is after how many events an end of the context is noticed.
const lookEvery = 4096

// Result is what was made of one source.
type Result struct {
	archive.Source
	Before bool // the archive had it before
}

// contentID returns the ID of a file by its content. What is not a file, such as a
// pipe, could not be read again after that.
func contentID(path string) (string, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: want a regular file", path)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return archive.SourceID("recording", hex.EncodeToString(sum.Sum(nil))), nil
}

// Recording makes an archive of one file of a recording, in any form that
// stream.ReadRecording reads. monitor is the name of the monitor that it is of.
func Recording(ctx context.Context, path, monitor string, o Options) (r Result, err error) {
	id, err := contentID(path)
	if err != nil {
		return r, fmt.Errorf("archive: %w", err)
	}
	if r.Before, err = archive.Made(o.Dir, id); err != nil || r.Before {
		return r, err
	}
	w, err := archive.NewWriter(o.Dir, archive.Options{Monitor: monitor, Source: id, BinaryCIDs: o.BinaryCIDs})
	if err != nil {
		return r, err
	}
	defer w.Abort()
	n := 0
	bad, err := stream.ReadRecording(path, func(e *stream.Event) error {
		if n++; n%lookEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if g := e.Gap; g != nil {
			return w.AddGap(archive.Gap{Head: archive.Head{Time: e.Timestamp.UnixNano()}, Slow: int64(g.Slow), Bus: int64(g.Bus), First: int64(g.First), Last: int64(g.Last)})
		}
		full, err := e.ToEvent()
		if err != nil {
			r.Skipped++
			return nil
		}
		full.Seq = e.Seq
		return w.Add(full)
	})
	r.Name, r.Skipped = string(event.Clean(path, 512)), r.Skipped+bad
	if damage := (*stream.DamagedError)(nil); errors.As(err, &damage) {
		r.Damaged, err = string(event.Clean(damage.Error(), 512)), nil
	}
	if err != nil {
		return r, err
	}
	if r.Rows = w.Rows; w.Rows == 0 {
		return r, nil // nothing to note: the next attempt may read more
	}
	return r, w.Commit(r.Source)
}
