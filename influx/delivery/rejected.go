package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of the file of rejected lines: when it is full it becomes
// rejected.lp.1, in place of an older one.
const (
	rejectedName = "rejected.lp"
	maxRejected  = 8 << 20
)

// rejects keeps the lines that the server refused permanently, with its error message, so that
// a person can correct and post them by hand.
type rejects struct {
	path string
	to   string // the destination's name

	mu   sync.Mutex
	file *os.File
	size int64
}

// write appends lines after a comment with the time, the destination, the number of refused
// points and the server's message. There are no lines if it is not known which were refused.
func (r *rejects) write(points int, said string, lines []byte) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	said = strings.NewReplacer("\n", "\n# ", "\r", " ").Replace(said)
	text := append(fmt.Appendf(nil, "# %s %s %d points: %s\n", time.Now().UTC().Format(time.RFC3339), r.to, points, said), lines...)
	if r.file != nil && r.size+int64(len(text)) > maxRejected {
		r.file.Close()
		r.file = nil
		if err := os.Rename(r.path, r.path+".1"); err != nil {
			return err
		}
	}
	if r.file == nil {
		if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return err
		}
		r.file, r.size = f, st.Size()
		if r.size > maxRejected { // left by an earlier process that ended just before the rename
			r.size = maxRejected
		}
	}
	n, err := r.file.Write(text[:min(len(text), maxRejected)])
	r.size += int64(n)
	return err
}

func (r *rejects) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
