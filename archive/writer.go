package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// reading recovers from panics while files are read, which anyone may have made.
var reading guard.Guard

const (
	// window is how many rows of a table wait to be sorted: clocks and goroutines
	// shuffle events that are close in time.
	window = 4096
	// lateRows is how many rows that come later than that are collected before they
	// are sorted and written to a file of their own.
	lateRows = 1 << 16
	// openHours is the number of hours that one table may have open.
	openHours = 3
	// texts is how many texts of peers and of CIDs are remembered.
	texts = 1 << 17
)

// Options say how an archive is written. The zero value of the rest is fine.
type Options struct {
	Monitor    string // name of the monitor; not needed for the table unified
	Source     string // ID of the source: SourceID makes it
	BinaryCIDs bool   // fill the columns cid_bytes
}

// Writer writes what one source has to an archive. It is for one goroutine.
type Writer struct {
	dir string
	Options
	of    [tableCount]tableWriter
	note  *os.File // of the source, locked while this writer is at it; nil once that has ended
	base  int64    // of the numbers of messages
	peers map[peer.ID]string
	cids  map[cid.Cid]string

	numbers map[string]int // of the files of each partition

	// Rows is how many rows were added, Files the paths of the finished files.
	Rows  int64
	Files []string
}

// tableWriter writes the rows of one table.
type tableWriter interface {
	finish() error
	abort()
}

// NewWriter opens an archive, and makes its folder and its catalogue if needed.
// Several writers may write to one archive, each another source; a second one of the
// same source is an error. Files of the source that a writer left unfinished are
// removed. Commit or Abort ends the writer.
func NewWriter(dir string, o Options) (_ *Writer, err error) {
	if !isID(o.Source) {
		return nil, fmt.Errorf("archive: source %q: want an ID of SourceID", o.Source)
	}
	if err := Create(dir); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, Options: o, peers: map[peer.ID]string{}, cids: map[cid.Cid]string{}, numbers: map[string]int{}}
	if err := w.lock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.unlock()
		}
	}()
	l, err := list(dir)
	if err != nil {
		return nil, err
	}
	if made, err := Made(dir, o.Source); err != nil || made {
		return nil, errors.Join(err, fmt.Errorf("archive: %s has source %s already", dir, o.Source))
	}
	for _, f := range l.files {
		if f.Source == o.Source {
			if err := os.Remove(filepath.Join(dir, f.Path)); err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
		}
	}
	if _, err := removeOpen(dir, l); err != nil {
		return nil, err
	}
	// 20 bits of the source make the numbers of messages unique in an archive; 52 bits
	// are whole numbers in every program.
	n, err := strconv.ParseUint(o.Source[:5], 16, 64)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	w.base = int64(n) << 32
	for i, t := range tables {
		w.of[i] = t.newWriter(w)
	}
	return w, nil
}

// lock begins the note of the source, under another name until it is complete, and
// locks it: a second writer of the source would remove the files of this one.
func (w *Writer) lock() (err error) {
	path := sourcePath(w.dir, w.Source)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if w.note, err = lockedFile(path + openSuffix); err != nil {
		return fmt.Errorf("archive: source %s: %w", w.Source, err)
	}
	return nil
}

// unlock removes the note, unless Commit has completed it.
func (w *Writer) unlock() {
	if w.note != nil {
		os.Remove(w.note.Name())
		w.note.Close()
		w.note = nil
	}
}

// Create makes the folder of an archive, if needed, and writes its catalogue. A folder
// with something else in it is an error.
func Create(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	path, catalog := filepath.Join(dir, catalogName), Catalog()
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, catalog) {
		return nil
	}
	if entries, err := os.ReadDir(dir); err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name()[0] != '_' && e.Name()[0] != '.' }) {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("archive: %s is not empty and has no %s: want a new folder, or that of an archive", dir, catalogName)
		}
	}
	if err := place(path, catalog); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// Catalog returns the descriptions of all tables as JSON.
func Catalog() []byte {
	out, err := json.MarshalIndent(struct {
		Format  string  `json:"format"`
		Version string  `json:"version"`
		Layout  string  `json:"layout"`
		Tables  []Table `json:"tables"`
	}{"ipfsmon archive", formatVersion, "TABLE/monitor=NAME/date=YYYY-MM-DD/hour=HH/*.parquet; unified has no monitor=; hours are UTC", Tables()}, "", "  ")
	if err != nil {
		panic(err) // strings and booleans
	}
	return append(out, '\n')
}

// removeOpen removes the files that a killed writer left open, and returns their
// paths. Those that a writer is at stay.
func removeOpen(dir string, l *listing) (removed []string, err error) {
	for _, at := range l.open {
		f, err := os.Open(filepath.Join(dir, at))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("archive: %w", err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if err := os.Remove(f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
				f.Close()
				return removed, fmt.Errorf("archive: %w", err)
			}
			removed = append(removed, at)
		}
		f.Close()
	}
	return removed, nil
}

// Close finishes all files. Without Commit none of the source's files counts: the
// next writer of the source removes them.
func (w *Writer) Close() error {
	for i, t := range w.of {
		if err := t.finish(); err != nil {
			for _, t := range w.of[i:] {
				t.abort()
			}
			return err
		}
	}
	return nil
}

// Abort removes what is not finished, and lets another writer have the source. After
// Commit it changes nothing.
func (w *Writer) Abort() {
	for _, t := range w.of {
		t.abort()
	}
	w.unlock()
}

func add[T any, P row[T]](w *Writer, to tableAt, r T) error {
	w.Rows++
	t := w.of[to].(*rowsWriter[T, P])
	t.row = r // a method of a type parameter would move r to the heap
	return t.add(&t.row)
}

// AddUnified adds a row of the unified trace of several monitors.
func (w *Writer) AddUnified(r Unified) error {
	r.Time = r.Seconds*1e9 + int64(r.Millis)*1e6
	return add(w, unified, r)
}

// AddGap adds a gap.
func (w *Writer) AddGap(g Gap) error { return add(w, gaps, g) }

// peer returns the text of a peer's ID.
func (w *Writer) peer(p peer.ID) string {
	if p == "" {
		return ""
	}
	s, ok := w.peers[p]
	if !ok {
		if len(w.peers) >= texts {
			clear(w.peers)
		}
		s = string(cidtext.AppendPeer(nil, p))
		w.peers[p] = s
	}
	return s
}

// cid returns the text of a CID.
func (w *Writer) cid(c cid.Cid) string {
	if !c.Defined() {
		return ""
	}
	s, ok := w.cids[c]
	if !ok {
		if len(w.cids) >= texts {
			clear(w.cids)
		}
		s = string(cidtext.AppendCID(nil, c))
		w.cids[c] = s
	}
	return s
}

func (w *Writer) content(c cid.Cid) (out Content) {
	if !c.Defined() {
		return out
	}
	out.CID, out.Codec = w.cid(c), codecName(c.Type())
	if w.BinaryCIDs {
		out.CIDBytes = c.Bytes()
	}
	return out
}

// codecName returns the name of a codec, or other: the same names as in the store.
func codecName(code uint64) string {
	switch code {
	case cid.DagProtobuf:
		return "dag-pb"
	case cid.Raw:
		return "raw"
	case cid.DagCBOR:
		return "dag-cbor"
	case cid.DagJSON:
		return "dag-json"
	case cid.Libp2pKey:
		return "libp2p-key"
	}
	return "other"
}

// rowsWriter writes the rows of one table to the files of their hours.
type rowsWriter[T any, P row[T]] struct {
	w     *Writer
	table *tableOf[T, P]
	hours []*hourRows[T, P] // the one used last at the end
	row   T                 // that is added
}

// hourRows are the rows of one hour.
type hourRows[T any, P row[T]] struct {
	*rowsWriter[T, P]
	hour int64
	rows []T // that wait to be sorted
	late []T // from before what is written
	file *openFile[T]
	last order // of the file
}

func (t *tableOf[T, P]) newWriter(w *Writer) tableWriter { return &rowsWriter[T, P]{w: w, table: t} }

func (t *rowsWriter[T, P]) add(r P) error {
	at := r.place()
	hour := hourOf(at.time)
	n := len(t.hours)
	if n > 0 && t.hours[n-1].hour == hour {
		return t.hours[n-1].add(r, at)
	}
	i := slices.IndexFunc(t.hours, func(h *hourRows[T, P]) bool { return h.hour == hour })
	var h *hourRows[T, P]
	if i >= 0 {
		h = t.hours[i]
		t.hours = slices.Delete(t.hours, i, i+1)
	} else {
		if n == openHours {
			if err := t.hours[0].finish(); err != nil {
				return err
			}
			t.hours = slices.Delete(t.hours, 0, 1)
		}
		h = &hourRows[T, P]{rowsWriter: t, hour: hour}
	}
	t.hours = append(t.hours, h)
	return h.add(r, at)
}

func (t *rowsWriter[T, P]) finish() error {
	for len(t.hours) > 0 {
		if err := t.hours[0].finish(); err != nil {
			return err
		}
		t.hours = t.hours[1:]
	}
	return nil
}

func (t *rowsWriter[T, P]) abort() {
	for _, h := range t.hours {
		if h.file != nil {
			h.file.abort()
		}
	}
	t.hours = nil
}

func (h *hourRows[T, P]) add(r P, at order) error {
	if h.file != nil && at.compare(h.last) < 0 {
		if h.late = append(h.late, *r); len(h.late) >= lateRows {
			return h.writeLate()
		}
		return nil
	}
	if h.rows = append(h.rows, *r); len(h.rows) >= 2*window {
		return h.write(window)
	}
	return nil
}

func byPlace[T any, P row[T]](a, b T) int { return P(&a).place().compare(P(&b).place()) }

// inOrder sorts rows. Most are in order already.
func inOrder[T any, P row[T]](rows []T) {
	for i := 1; i < len(rows); i++ {
		if P(&rows[i-1]).place().compare(P(&rows[i]).place()) > 0 {
			slices.SortStableFunc(rows, byPlace[T, P])
			return
		}
	}
}

// write writes all waiting rows but the last ones.
func (h *hourRows[T, P]) write(keep int) (err error) {
	inOrder[T, P](h.rows)
	n := len(h.rows) - keep
	if n <= 0 {
		return nil
	}
	if h.file == nil {
		if h.file, err = h.create(); err != nil {
			return err
		}
	}
	if err := h.file.write(h.rows[:n]); err != nil {
		return err
	}
	h.last = P(&h.rows[n-1]).place()
	left := copy(h.rows, h.rows[n:])
	clear(h.rows[left:])
	h.rows = h.rows[:left]
	return nil
}

// create begins the next file of the hour.
func (h *hourRows[T, P]) create() (*openFile[T], error) {
	at := folder(h.table.Name, h.w.Monitor, h.hour)
	number := h.w.numbers[at]
	h.w.numbers[at] = number + 1
	return create(h.table, filepath.Join(h.w.dir, at), fmt.Sprintf("%s-%04d", h.w.Source, number), h.w.Monitor)
}

func (h *hourRows[T, P]) writeLate() error {
	if len(h.late) == 0 {
		return nil
	}
	inOrder[T, P](h.late)
	f, err := h.create()
	if err != nil {
		return err
	}
	if err := f.write(h.late); err != nil {
		f.abort()
		return err
	}
	clear(h.late)
	h.late = h.late[:0]
	return h.finishFile(f)
}

func (h *hourRows[T, P]) finishFile(f *openFile[T]) error {
	path, err := f.finish()
	if err == nil {
		h.w.Files = append(h.w.Files, path)
	}
	return err
}

// finish writes what waits, and finishes the hour's files.
func (h *hourRows[T, P]) finish() error {
	if err := h.write(0); err != nil {
		return err
	}
	if f := h.file; f != nil {
		h.file = nil
		if err := h.finishFile(f); err != nil {
			return err
		}
	}
	return h.writeLate()
}

// Add adds an event. Kinds that an archive does not have are ignored; Has reports
// which those are.
func (w *Writer) Add(e *event.Event) error { return w.add(e, false) }

// AddParts adds the entries of a message without the message: a store has only
// these.
func (w *Writer) AddParts(e *event.Event) error { return w.add(e, true) }
