package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names in the folder.
const (
	suffix         = ".seg"
	cursorName     = "cursor"
	lockName       = "lock"
	quarantineName = "quarantine"
	maxQuarantine  = 64 << 20
	retryDisk      = time.Second
)

func (s *Spool) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

// segmentNumber reads a number from a segment's name, which is 16 hexadecimal
// digits and .seg.
func segmentNumber(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && n < maxSeq
}

// attach locks the folder and reads its contents. The caller holds disk.
func (s *Spool) attach() error {
	fsys := s.cfg.fs
	if err := fsys.MkdirAll(s.cfg.Dir); err != nil {
		return err
	}
	if s.lock == nil {
		lock, err := fsys.Lock(s.path(lockName))
		if err != nil {
			return err
		}
		s.lock = lock
	}
	entries, err := fsys.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	var nums []uint64
	for _, e := range entries {
		if n, ok := segmentNumber(e.Name()); ok {
			s.nextSeg = max(s.nextSeg, n+1)
			if e.Type().IsRegular() {
				nums = append(nums, n)
			}
		}
	}
	s.nextSeg = max(s.nextSeg, 1)
	slices.Sort(nums)
	next, delivered, err := s.readCursor()
	if err != nil {
		return err
	}

	var onDisk ranges
	var segs []*segment
	var st Stats
	for _, n := range nums {
		g, refs, holes, err := s.openSegment(n)
		if err != nil {
			return err // all or nothing: the next attempt finds these segments again
		}
		for _, r := range refs {
			next = max(next, r.seq+1)
			if onDisk.has(r.seq) {
				continue // a copy
			}
			onDisk.add(r.seq, r.seq)
			if delivered.has(r.seq) {
				continue
			}
			g.frames++
			g.points += int(r.points)
			g.bytes += int64(r.length)
		}
		for _, h := range holes {
			st.Holes++
			st.HoleBytes += uint64(h.to - h.from)
			s.quarantine(g, h.from, h.to)
			st.Corruption = &CorruptionError{Segment: filepath.Base(g.path), Offset: h.from}
		}
		st.Points += g.points
		st.Frames += g.frames
		segs = append(segs, g)
	}
	slices.SortStableFunc(segs, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	// Numbers in no segment and delivered numbers need no delivery.
	done := delivered
	at := uint64(1)
	for _, d := range onDisk {
		done.add(at, d.first-1)
		at = d.last + 1
	}
	next = max(next, 1)
	done.add(at, next-1)

	s.mu.Lock()
	defer s.mu.Unlock()
	// Batches put before the folder could be read come after its contents.
	shift := next - 1
	for _, d := range s.done {
		done.add(d.first+shift, d.last+shift)
	}
	clear(s.leased)
	for _, f := range s.mem {
		f.seq += shift
		if f.leased {
			s.leased[f.seq] = f
		}
	}
	s.mark, s.next, s.done = s.mark+shift, s.next+shift, done
	s.segs, s.attached, s.dirty = segs, true, true
	s.st.Points += st.Points
	s.st.Frames += st.Frames
	s.st.Restored += uint64(st.Points)
	s.st.Holes += st.Holes
	s.st.HoleBytes += st.HoleBytes
	s.st.Corruption = cmp.Or(st.Corruption, s.st.Corruption)
	s.st.Err = nil
	s.signal(Backlog)
	if st.Holes > 0 {
		s.cfg.Log.Warn("spool: parts of segments are damaged or incomplete; they are kept in "+quarantineName,
			"dir", s.cfg.Dir, "stretches", st.Holes, "bytes", st.HoleBytes, "err", st.Corruption)
	}
	return nil
}

func (s *Spool) readCursor() (next uint64, done ranges, err error) {
	f, err := s.cfg.fs.Open(s.path(cursorName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err == nil && size <= 64+16*maxSpans {
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err == nil || err == io.EOF {
			if next, done, ok := decodeCursor(b); ok {
				return next, done, nil
			}
		}
	}
	s.cfg.Log.Warn("spool: the cursor is damaged; everything in the spool is delivered again", "path", s.path(cursorName))
	return 0, nil, nil
}

// openSegment reads a segment's frames.
func (s *Spool) openSegment(num uint64) (*segment, []ref, []hole, error) {
	g := &segment{num: num, path: s.path(fmt.Sprintf("%016x%s", num, suffix))}
	f, err := s.cfg.fs.Open(g.path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	if g.size, err = f.Size(); err != nil {
		return nil, nil, nil, err
	}
	refs, holes, err := scan(f, g.size)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read %s: %w", g.path, err)
	}
	for _, r := range refs {
		g.note(r)
	}
	return g, refs, holes, nil
}

// note adds a frame to the summary of a segment.
func (g *segment) note(r ref) {
	if g.first == 0 || r.seq < g.first {
		g.first = r.seq
	}
	g.last = max(g.last, r.seq)
	if g.oldest == 0 || r.since < g.oldest {
		g.oldest = r.since
	}
	g.newest = max(g.newest, r.since)
}

// load reads the list of a segment's frames, and drops the lists of settled segments.
func (s *Spool) load(g *segment) {
	_, refs, _, err := s.openSegment(g.num)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist) && slices.Contains(s.segs, g):
		s.lose(g) // somebody removed it
		return
	case err != nil:
		g.unread = true
		s.st.DiskErrors++
		s.st.Err = err
		return
	}
	for _, o := range s.segs {
		if o != s.current && (o.frames == 0 || o.skip == len(o.refs)) {
			o.refs, o.skip = nil, 0
		}
	}
	g.refs, g.skip = refs, 0
	if len(refs) == 0 { // it had some before
		s.lose(g)
	}
}

// lose counts a segment's pending frames as damaged when their list cannot be read. The caller
// holds mu.
func (s *Spool) lose(g *segment) {
	s.st.Damaged += uint64(g.points)
	s.losses[lostDamage] += g.points
	s.st.Points -= g.points
	s.st.Frames -= g.frames
	g.frames, g.points, g.bytes = 0, 0, 0
	for n := g.first; n <= g.last; n++ {
		if s.leased[n] == nil && s.inMemory(n) < 0 {
			s.done.add(n, n)
		}
	}
	s.dirty = true
}

// read builds a batch from leased frames; nil if none of them could be read.
func (s *Spool) read(frames []*frame) *Batch {
	b := &Batch{Kind: frames[0].kind}
	var open openFile
	var of *segment
	defer func() {
		if open != nil {
			open.Close()
		}
	}()
	segs := make([]*segment, len(frames)) // a flush may drop them meanwhile: f.seg is nil then
	s.mu.Lock()
	for i, f := range frames {
		segs[i] = f.seg
	}
	s.mu.Unlock()
	for i, f := range frames {
		data := f.data // of a leased frame it stays
		if seg := segs[i]; data == nil {
			err := error(&CorruptionError{Offset: f.off}) // of a segment that was removed
			if seg != nil {
				data, err = s.readOne(&open, &of, seg, f.ref)
			}
			if err != nil && !isCorrupt(err) {
				s.mu.Lock()
				s.release(frames[i:])
				seg.unread = true
				s.st.DiskErrors++
				s.st.Err = err
				s.mu.Unlock()
				break
			}
			if err != nil {
				s.damaged(f, err)
				continue
			}
		}
		if len(frames) == 1 {
			b.Data = data
		} else {
			b.Data = append(b.Data, data...)
		}
		if t := time.Unix(0, f.since); b.Since.IsZero() || t.Before(b.Since) {
			b.Since = t
		}
		b.Points += int(f.points)
		b.frames = append(b.frames, f)
	}
	if len(b.frames) == 0 {
		return nil
	}
	return b
}

// readOne reads a frame's payload from its segment, whose file it opens unless the frame before
// was of it.
func (s *Spool) readOne(open *openFile, of **segment, seg *segment, r ref) ([]byte, error) {
	name := filepath.Base(seg.path)
	if *of != seg {
		if *open != nil {
			(*open).Close()
		}
		*of, *open = seg, nil
		f, err := s.cfg.fs.Open(seg.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			*open = f
		}
	}
	if *open == nil {
		return nil, &CorruptionError{Segment: name, Offset: r.off}
	}
	return readFrame(*open, name, r)
}

// damaged drops one frame whose bytes on disk are not what was written, or whose segment was
// dropped because of the limits before it could be read.
func (s *Spool) damaged(f *frame, corrupt error) {
	s.disk.Lock()
	defer s.disk.Unlock() // no segment is dropped meanwhile
	s.mu.Lock()
	seg := f.seg
	s.mu.Unlock()
	if seg != nil {
		s.quarantine(seg, f.off, f.end())
	}
	s.mu.Lock()
	if seg == nil {
		s.drop(f, lostBounds)
	} else {
		s.settle(f)
		s.st.Damaged += uint64(f.points)
		s.losses[lostDamage] += int(f.points)
		s.st.Corruption = corrupt
	}
	s.mu.Unlock()
	s.report(false)
}

// quarantine keeps a copy of bytes that are not a frame, for inspection; if it cannot, they are
// only counted. The caller holds disk.
func (s *Spool) quarantine(g *segment, from, to int64) {
	dir := s.path(quarantineName)
	kept := int64(0)
	entries, _ := s.cfg.fs.ReadDir(dir)
	for _, e := range entries {
		if i, err := e.Info(); err == nil {
			kept += i.Size()
		}
	}
	if kept+to-from > maxQuarantine || s.cfg.fs.MkdirAll(dir) != nil {
		return
	}
	in, err := s.cfg.fs.Open(g.path)
	if err != nil {
		return
	}
	defer in.Close()
	out, err := s.cfg.fs.Create(filepath.Join(dir, fmt.Sprintf("%016x-%d.bad", g.num, from)))
	if err != nil {
		return // kept already when the segment was opened earlier
	}
	defer out.Close()
	_, _ = io.Copy(out, io.NewSectionReader(in, from, to-from))
}
