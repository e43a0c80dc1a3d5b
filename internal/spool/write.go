package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// write does all work on disk: it writes the frames that are at least so old, enforces the
// limits, removes delivered segments and writes the cursor. The caller holds disk.
func (s *Spool) write(age time.Duration) {
	if s.closed || s.cfg.now().Before(s.retryAt) {
		return
	}
	if err := s.tryWrite(age); err != nil {
		s.fail(err)
	} else {
		s.mu.Lock()
		s.st.Err = nil
		s.mu.Unlock()
	}
}

// fail records why the disk is not usable; the next attempt is in a second.
func (s *Spool) fail(err error) {
	s.retryAt = s.cfg.now().Add(retryDisk)
	s.mu.Lock()
	s.st.Err = err
	s.st.DiskErrors++
	s.mu.Unlock()
	s.diskLine.Warn(s.cfg.Log, "spool: the disk is not usable, keeping batches in memory", "dir", s.cfg.Dir, "err", err)
}

func (s *Spool) tryWrite(age time.Duration) error {
	s.mu.Lock()
	attached := s.attached
	again := false
	for _, g := range s.segs {
		again = again || g.unread
		g.unread = false
	}
	s.mu.Unlock()
	if again {
		s.signal(Fresh)
		s.signal(Backlog)
	}
	if !attached {
		if err := s.attach(); err != nil {
			return err
		}
	}
	if err := s.tidy(); err != nil {
		return err
	}
	if err := s.writeFrames(age); err != nil {
		return err
	}
	return s.writeCursor()
}

// writeFrames writes the frames that are only in memory to disk, in their order, until one
// is younger.
func (s *Spool) writeFrames(age time.Duration) error {
	now := s.cfg.now()
	s.mu.Lock()
	var todo []*frame
	for _, f := range s.mem {
		if f.seg == nil {
			if age > 0 && now.Sub(f.at) < age {
				break
			}
			f.writing = true
			todo = append(todo, f)
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		for _, f := range todo {
			f.writing = false
			if s.done.has(f.seq) && f.data != nil { // settled meanwhile
				if s.cfg.Release != nil {
					s.cfg.Release(f.data)
				}
				f.data = nil
			}
		}
		s.mu.Unlock()
	}()

	var written []*frame
	var refs []ref
	commit := func() error {
		if len(written) == 0 {
			return nil
		}
		if err := s.active.Sync(); err != nil {
			s.mu.Lock()
			s.st.SyncErrors++
			s.mu.Unlock()
			path := s.current.path
			s.abandon()
			return fmt.Errorf("sync %s: %w", path, err)
		}
		s.commit(written, refs)
		written, refs = written[:0], refs[:0]
		return nil
	}
	size := func() int64 {
		n := s.current.size
		for _, r := range refs {
			n += r.end() - r.off
		}
		return n
	}
	for _, f := range todo {
		s.mu.Lock()
		settled := s.done.has(f.seq)
		s.mu.Unlock()
		if settled {
			continue
		}
		need := int64(len(f.data)) + frameExtra
		if need > s.cfg.MaxBytes || len(f.data) > maxFrame {
			s.mu.Lock()
			s.drop(f, lostSize)
			s.mu.Unlock()
			continue
		}
		if s.active != nil && size() > 0 && size()+need > s.segmentBytes() {
			if err := commit(); err != nil {
				return err
			}
			s.roll()
		}
		pending := int64(0)
		if s.active != nil {
			pending = size() - s.current.size
		}
		if err := s.makeRoom(need + pending); err != nil {
			return err
		}
		if s.active == nil {
			if err := s.create(); err != nil {
				return err
			}
		}
		r := f.ref
		r.off = size()
		s.buf = appendFrame(s.buf[:0], r, f.data)
		if _, err := s.active.Write(s.buf); err != nil {
			err = fmt.Errorf("append to %s: %w", s.current.path, err)
			if e := commit(); e != nil { // the whole frames before it
				return errors.Join(err, e)
			}
			s.abandon()
			return err
		}
		written, refs = append(written, f), append(refs, r)
	}
	if cap(s.buf) > segmentBytes {
		s.buf = nil
	}
	return commit()
}

// segmentBytes is small relative to MaxBytes, so that a drop is small.
func (s *Spool) segmentBytes() int64 { return min(segmentBytes, s.cfg.MaxBytes/8) }

// create starts a segment.
func (s *Spool) create() error {
	g := &segment{num: s.nextSeg, path: s.path(fmt.Sprintf("%016x%s", s.nextSeg, suffix)), refs: []ref{}}
	s.nextSeg++
	f, err := s.cfg.fs.Create(g.path)
	if err != nil {
		return err
	}
	if err := s.cfg.fs.SyncDir(s.cfg.Dir); err != nil {
		f.Close()
		_ = s.cfg.fs.Remove(g.path)
		return fmt.Errorf("sync %s: %w", s.cfg.Dir, err)
	}
	s.active = f
	s.mu.Lock()
	s.current = g
	s.mu.Unlock()
	return nil
}

// commit marks frames as on disk.
func (s *Spool) commit(written []*frame, refs []ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.current
	if g.size == 0 {
		s.segs = append(s.segs, g)
	}
	for i, f := range written {
		r := refs[i]
		g.size = r.end()
		g.note(r)
		g.refs = append(g.refs, r)
		f.off = r.off
		if s.done.has(f.seq) { // settled while being written
			continue
		}
		g.frames++
		g.points += int(r.points)
		g.bytes += int64(r.length)
		f.seg = g
		s.unsynced -= len(f.data)
		f.writing = false
	}
	s.evict(s.cfg.MaxMemory / 4)
}

// roll ends the active segment; all of it is synced.
func (s *Spool) roll() {
	if s.active != nil {
		s.active.Close()
		s.active = nil
	}
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
}

// abandon ends a segment after a failed write: its synced part stays, the rest is truncated and
// written to another file, since the result of a failed fsync is unknown.
func (s *Spool) abandon() {
	if s.active == nil {
		return
	}
	s.mu.Lock()
	g := s.current
	s.mu.Unlock()
	_ = s.active.Truncate(g.size) // if that fails, the frames are found twice and recognised by their numbers
	s.roll()
	if g.size == 0 {
		_ = s.cfg.fs.Remove(g.path)
	}
}

// makeRoom drops the oldest segments until so many bytes fit.
func (s *Spool) makeRoom(need int64) error {
	for {
		s.mu.Lock()
		total := need
		for _, g := range s.segs {
			total += g.size
		}
		var old *segment
		if len(s.segs) > 0 {
			old = s.segs[0]
		}
		only := old != nil && old == s.current
		s.mu.Unlock()
		if total <= s.cfg.MaxBytes || old == nil || only {
			return nil
		}
		if err := s.dropSegment(old); err != nil {
			return err
		}
	}
}

// dropSegment removes a segment; its pending frames are lost and counted.
func (s *Spool) dropSegment(g *segment) error {
	s.mu.Lock()
	refs, pending := g.refs, g.frames
	s.mu.Unlock()
	if refs == nil && pending > 0 {
		var err error
		if _, refs, _, err = s.openSegment(g.num); err != nil {
			s.mu.Lock()
			s.lose(g)
			s.mu.Unlock()
		}
	}
	s.mu.Lock()
	for _, r := range refs {
		if s.done.has(r.seq) || g.frames == 0 {
			continue
		}
		if f := s.leased[r.seq]; f != nil {
			f.seg = nil // delivered from memory
			if i := s.inMemory(r.seq); i >= 0 {
				s.unsynced += len(f.data)
			}
			continue
		}
		s.drop(&frame{ref: r, seg: g}, lostBounds)
	}
	g.frames = 0
	s.segs = slices.DeleteFunc(s.segs, func(o *segment) bool { return o == g })
	s.mu.Unlock()
	return s.cfg.fs.Remove(g.path)
}

// tidy removes segments that are delivered or too old.
func (s *Spool) tidy() error {
	limit := int64(0)
	if s.cfg.MaxAge > 0 {
		limit = s.cfg.now().Add(-s.cfg.MaxAge).UnixNano()
	}
	s.mu.Lock()
	var gone []*segment
	rolled := false
	for _, g := range s.segs {
		if old := g.newest < limit; old || g.frames == 0 && g != s.current {
			gone = append(gone, g)
			rolled = rolled || g == s.current
		}
	}
	s.mu.Unlock()
	if rolled {
		s.roll()
	}
	for _, g := range gone {
		if err := s.dropSegment(g); err != nil {
			return err
		}
	}
	return nil
}

// writeCursor replaces the cursor file if it has changed. While there is no segment it is not
// needed: with a server that answers, nothing is written to disk.
func (s *Spool) writeCursor() error {
	s.mu.Lock()
	if len(s.segs) == 0 {
		s.mu.Unlock()
		return nil
	}
	dirty := s.dirty
	b := encodeCursor(s.next, s.done)
	s.dirty = false
	s.mu.Unlock()
	if !dirty {
		return nil
	}
	err := s.replace(cursorName, b)
	if err != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
	return err
}

// replace replaces a file atomically: a crash leaves the old or the new one.
func (s *Spool) replace(name string, b []byte) error {
	tmp := s.path(name + ".tmp")
	_ = s.cfg.fs.Remove(tmp) // left by a crash
	f, err := s.cfg.fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = s.cfg.fs.Rename(tmp, s.path(name))
	}
	if err != nil {
		_ = s.cfg.fs.Remove(tmp)
		return fmt.Errorf("write %s: %w", s.path(name), err)
	}
	return s.cfg.fs.SyncDir(s.cfg.Dir)
}

// end closes the files and removes delivered segments.
func (s *Spool) end() {
	s.closed = true
	s.roll()
	s.mu.Lock()
	attached := s.attached
	s.mu.Unlock()
	if attached {
		_ = s.tidy() // else the next Open does it
	}
	if s.lock != nil {
		s.lock.Close()
	}
}
