package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// Defaults of Config, for those who set nothing.
const (
	DefaultMaxBytes  = 4 << 30
	DefaultSyncEvery = time.Second
	DefaultSyncBytes = 1 << 20
	DefaultMaxMemory = 64 << 20
	DefaultFreshFor  = 5 * time.Second
	segmentBytes     = 8 << 20
)

// The lanes of Next.
const (
	Fresh   = iota // what was put a moment ago
	Either         // the backlog, and what is fresh while there is none
	Backlog        // what was left by an earlier process or could not be delivered at once
	Lanes
)

// ErrDrained says that the spool was sealed and a lane is empty.
var ErrDrained = errors.New("spool: everything is delivered")

// Config of a spool. Only Dir must be given.
type Config struct {
	Dir       string        // folder of the spool, made if it is missing
	MaxBytes  int64         // on disk; beyond it the oldest segment goes. Default 4 GiB, least 64 KiB
	MaxAge    time.Duration // of a segment's newest batch; 0: no bound
	SyncEvery time.Duration // from Put to disk at most; 0: Put waits for the disk
	SyncBytes int           // written before SyncEvery if that much waits. Default 1 MiB
	MaxMemory int           // of batches held in memory. Default 64 MiB
	FreshFor  time.Duration // how old the fresh lane may get before it is backlog. Default 5 s
	MaxPoints int           // of batches joined for delivery. Default 5000
	MaxJoin   int           // their bytes. Default 8 MiB

	Release func([]byte)     // gets the memory of batches back; may be nil
	Log     *slog.Logger     // nil: slog.Default()
	FS      FS               // nil: the machine's
	Now     func() time.Time // nil: time.Now
}

// Batch is what Next returns: whole batches of one kind, joined.
type Batch struct {
	Kind   byte
	Points int
	Data   []byte // may be read until Ack
	Since  time.Time
	frames []*frame
}

// frame is a batch that was put, in memory, on disk or both.
type frame struct {
	ref
	at      time.Time // of Put
	data    []byte    // nil: on disk only
	seg     *segment  // nil: in memory only
	leased  bool
	writing bool
}

// segment is a file of frames. All but path and num are guarded by Spool.mu.
type segment struct {
	num         uint64
	path        string
	size        int64
	first, last uint64 // numbers of its frames
	oldest      int64
	newest      int64
	refs        []ref // nil: not loaded
	skip        int   // this many of refs are settled
	frames      int   // pending
	points      int   // pending
	bytes       int64 // pending, payload
	unread      bool  //  an error kept it from being read; tried again at the next flush
}

// Stats is how a spool stands.
type Stats struct {
	Points   int // pending
	Frames   int // pending
	Memory   int // bytes held in memory
	Unsynced int // bytes accepted that are on no disk yet
	Disk     int64
	Segments int
	Oldest   time.Time // when the oldest pending point was accepted; zero: none
	Restored uint64    // points found by Open
	Dropped  uint64    // points lost to the bounds
	// DroppedBytes is the payload of Dropped.
	DroppedBytes uint64
	Damaged      uint64 // points of damaged frames whose header was right
	Holes        uint64 // stretches of segments that are no frame
	HoleBytes    uint64
	Corruption   error // the damage found last, a *CorruptionError; nil: none
	DiskErrors   uint64
	SyncErrors   uint64 // fsync failed; these are among DiskErrors
	Err          error  // why batches are kept in memory only; nil: all is well
}

// Spool keeps batches. Its methods may be called from several goroutines.
type Spool struct {
	cfg  Config
	stop chan struct{}
	kick chan struct{} // cap 1: SyncBytes wait
	wg   sync.WaitGroup
	once sync.Once

	lines    [reasons]throttle.Loss
	diskLine throttle.Line

	// disk is locked before mu. It guards the files and what is next to it.
	disk    sync.Mutex
	lock    io.Closer
	active  File
	buf     []byte
	retryAt time.Time
	nextSeg uint64
	closed  bool

	mu       sync.Mutex
	attached bool
	mem      []*frame // by number
	memBytes int
	unsynced int
	segs     []*segment // by first number
	current  *segment   // the one of active, not yet in segs while nothing in it is synced
	next     uint64     // number of the next frame
	mark     uint64     // frames before it are backlog
	done     ranges     // numbers that need no delivery
	dirty    bool       // done is not what the cursor file says
	leased   map[uint64]*frame
	sealed   bool
	losses   [reasons]int // points that no line of the log has said
	wake     [Lanes]chan struct{}
	st       Stats
}

// Open opens a spool or makes one. The only errors are a wrong Config and
// ErrLocked: a folder that cannot be used is Stats.Err, and is tried again.
func Open(cfg Config) (*Spool, error) {
	if cfg.Dir == "" {
		return nil, errors.New("spool: no folder given")
	}
	def(&cfg.MaxBytes, DefaultMaxBytes)
	def(&cfg.SyncBytes, DefaultSyncBytes)
	def(&cfg.MaxMemory, DefaultMaxMemory)
	def(&cfg.FreshFor, DefaultFreshFor)
	def(&cfg.MaxPoints, 5000)
	def(&cfg.MaxJoin, 8<<20)
	if cfg.MaxBytes < 64<<10 {
		return nil, fmt.Errorf("spool: MaxBytes is %d: want 65536 or more", cfg.MaxBytes)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.FS == nil {
		cfg.FS = OS{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Spool{cfg: cfg, stop: make(chan struct{}), kick: make(chan struct{}, 1), next: 1, mark: 1, leased: map[uint64]*frame{}}
	for l := range s.wake {
		s.wake[l] = make(chan struct{}, 1)
	}
	s.disk.Lock()
	err := s.attach()
	s.disk.Unlock()
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err != nil {
		s.fail(err)
	}
	s.wg.Go(s.flushLoop)
	return s, nil
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Put takes a batch and owns data from then on. It does not wait for the disk
// unless SyncEvery is 0.
func (s *Spool) Put(kind byte, points int, since time.Time, data []byte) {
	s.mu.Lock()
	f := &frame{ref: ref{seq: s.next, since: since.UnixNano(), points: uint32(points), length: uint32(len(data)), kind: kind}, at: s.cfg.Now(), data: data}
	s.next++
	s.mem = append(s.mem, f)
	s.memBytes += cap(data)
	s.unsynced += len(data)
	s.st.Points += points
	s.st.Frames++
	s.evict(s.cfg.MaxMemory)
	full := s.unsynced >= s.cfg.SyncBytes
	s.mu.Unlock()
	s.signal(Fresh)
	s.report(false)
	switch {
	case s.cfg.SyncEvery <= 0:
		s.flush()
	case full:
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

func (s *Spool) signal(lane int) {
	for _, l := range []int{lane, Either} {
		select {
		case s.wake[l] <- struct{}{}:
		default:
		}
	}
}

// evict makes the frames in memory fit: those that are on disk leave memory,
// and if that is not enough the oldest of the others are lost. The caller holds
// mu.
func (s *Spool) evict(most int) {
	for i := 0; i < len(s.mem) && s.memBytes > most; {
		if f := s.mem[i]; f.seg != nil && !f.leased && !f.writing {
			s.forget(i)
		} else {
			i++
		}
	}
	for i := 0; i < len(s.mem)-1 && s.memBytes > s.cfg.MaxMemory; {
		if f := s.mem[i]; f.seg == nil && !f.leased && !f.writing {
			s.drop(f, lostMemory)
		} else {
			i++
		}
	}
}

// forget takes a frame out of memory.
func (s *Spool) forget(i int) {
	f := s.mem[i]
	s.mem = slices.Delete(s.mem, i, i+1)
	s.memBytes -= cap(f.data)
	if f.seg == nil {
		s.unsynced -= len(f.data)
	}
	if s.cfg.Release != nil && !f.writing {
		s.cfg.Release(f.data)
	}
	if !f.writing {
		f.data = nil
	}
}

// inMemory returns the index of a frame in mem, or -1.
func (s *Spool) inMemory(seq uint64) int {
	i := sort.Search(len(s.mem), func(i int) bool { return s.mem[i].seq >= seq })
	if i < len(s.mem) && s.mem[i].seq == seq {
		return i
	}
	return -1
}

// settle says that a frame needs no delivery. The caller holds mu.
func (s *Spool) settle(f *frame) {
	if s.done.has(f.seq) {
		return
	}
	s.done.add(f.seq, f.seq)
	s.dirty = true
	s.st.Points -= int(f.points)
	s.st.Frames--
	if g := f.seg; g != nil {
		g.frames--
		g.points -= int(f.points)
		g.bytes -= int64(f.length)
		if g.frames == 0 {
			g.oldest = 0 // what it gets next is the oldest
		}
	}
	if f.leased {
		f.leased = false
		delete(s.leased, f.seq)
	}
	if i := s.inMemory(f.seq); i >= 0 {
		s.forget(i)
	}
}

// reason is why points are lost. Each has a line of the log of its own.
type reason int

const (
	lostMemory reason = iota // memory is full, and the disk does not take them
	lostBounds               // of the disk, or their age
	lostSize                 // a batch that no spool of these bounds can hold
	lostDamage               // bytes on disk are not what was written
	lostEnd                  // the end, without a disk
	reasons
)

// report writes the lines of the log about what was lost since they were
// written last; at the end all of them. The caller holds no lock but disk.
func (s *Spool) report(end bool) {
	s.mu.Lock()
	losses, err, corrupt := s.losses, s.st.Err, s.st.Corruption
	s.losses = [reasons]int{}
	s.mu.Unlock()
	for why, n := range losses {
		if n == 0 {
			continue
		}
		line := &s.lines[why]
		switch reason(why) {
		case lostMemory:
			line.Warn(s.cfg.Log, "spool: points dropped, memory is full and the disk does not take them", "points", n, "MaxMemory", s.cfg.MaxMemory, "err", err)
		case lostBounds:
			line.Warn(s.cfg.Log, "spool: the oldest points are dropped, the bound is reached", "points", n, "MaxBytes", s.cfg.MaxBytes, "MaxAge", s.cfg.MaxAge)
		case lostSize:
			line.Warn(s.cfg.Log, "spool: points dropped, their batch is larger than the spool may be", "points", n, "MaxBytes", s.cfg.MaxBytes)
		case lostDamage:
			line.Warn(s.cfg.Log, "spool: points are lost, the disk has changed or removed them; what bytes there are is in "+quarantineName, "points", n, "dir", s.cfg.Dir, "err", corrupt)
		case lostEnd:
			line.Warn(s.cfg.Log, "spool: points dropped at the end, the disk does not take them", "points", n, "err", err)
		}
	}
	for i := range s.lines {
		if end {
			s.lines[i].Flush()
		} else {
			s.lines[i].Tick()
		}
	}
}

// drop loses a frame. The caller holds mu.
func (s *Spool) drop(f *frame, why reason) {
	s.losses[why] += int(f.points)
	s.settle(f)
	s.st.Dropped += uint64(f.points)
	s.st.DroppedBytes += uint64(f.length)
}

// Next waits for batches of a lane. They stay in the spool until Ack. The error
// is ctx's or ErrDrained.
func (s *Spool) Next(ctx context.Context, lane int) (*Batch, error) {
	for {
		s.mu.Lock()
		first := lane
		if lane == Either {
			first = Backlog
		}
		frames, load := s.pick(first)
		if lane == Either && len(frames) == 0 && load == nil {
			frames, load = s.pick(Fresh)
		}
		sealed := s.sealed
		s.mu.Unlock()
		switch {
		case load != nil:
			s.load(load)
			continue
		case len(frames) > 0:
			s.signal(lane) // to another who waits there: there may be more
			if b := s.read(frames); b != nil {
				return b, nil
			}
			continue
		case sealed:
			s.signal(lane)
			return nil, ErrDrained
		}
		select {
		case <-s.wake[lane]:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pick leases frames of one kind, as many as may be joined. If a segment must
// be loaded first it returns that one. The caller holds mu.
func (s *Spool) pick(lane int) (frames []*frame, load *segment) {
	from, to := uint64(0), s.mark
	if lane == Fresh {
		from, to = s.mark, s.next
	}
	points, size := 0, 0
	// take says whether there may be room for more.
	take := func(f *frame) bool {
		if len(frames) > 0 {
			if f.kind != frames[0].kind {
				return true
			}
			if points+int(f.points) > s.cfg.MaxPoints || size+int(f.length) > s.cfg.MaxJoin {
				return false
			}
		}
		f.leased = true
		s.leased[f.seq] = f
		frames = append(frames, f)
		points += int(f.points)
		size += int(f.length)
		return points < s.cfg.MaxPoints
	}
	for _, g := range s.segs {
		if g.frames == 0 || g.unread || g.last < from || g.first >= to {
			continue
		}
		if g.refs == nil {
			if len(frames) > 0 {
				return frames, nil
			}
			return nil, g
		}
		for g.skip < len(g.refs) && s.done.has(g.refs[g.skip].seq) {
			g.skip++
		}
		for _, r := range g.refs[g.skip:] {
			if r.seq < from || r.seq >= to || s.leased[r.seq] != nil || s.done.has(r.seq) {
				continue
			}
			f := &frame{ref: r, at: time.Unix(0, r.since), seg: g}
			if i := s.inMemory(r.seq); i >= 0 {
				f = s.mem[i]
			}
			if lane == Fresh && len(frames) == 0 && s.stale(f) {
				return s.pick(lane)
			}
			if !take(f) {
				return frames, nil
			}
		}
	}
	for i := sort.Search(len(s.mem), func(i int) bool { return s.mem[i].seq >= from }); i < len(s.mem); i++ {
		f := s.mem[i]
		if f.seq >= to {
			break
		}
		if f.leased || f.seg != nil { // on disk: it was looked at
			continue
		}
		if lane == Fresh && len(frames) == 0 && s.stale(f) {
			return s.pick(lane)
		}
		if !take(f) {
			break
		}
	}
	return frames, nil
}

// stale moves all there is to the backlog if the oldest frame of the fresh lane
// is no longer fresh: what comes now must not wait for it.
func (s *Spool) stale(f *frame) bool {
	if s.sealed || s.cfg.Now().Sub(f.at) <= s.cfg.FreshFor || s.mark == s.next {
		return false
	}
	s.mark = s.next
	s.signal(Backlog)
	return true
}

// Ack settles what Next gave: it is delivered, or needs no delivery.
func (s *Spool) Ack(b *Batch) {
	s.mu.Lock()
	for _, f := range b.frames {
		s.settle(f)
	}
	s.mu.Unlock()
	b.frames, b.Data = nil, nil
}

// release has Next return frames again. The caller holds mu.
func (s *Spool) release(frames []*frame) {
	for _, f := range frames {
		f.leased = false
		delete(s.leased, f.seq)
	}
	s.signal(Fresh)
	s.signal(Backlog)
}

// Seal says that no Put will come: Next ends when its lane is empty.
func (s *Spool) Seal() {
	s.mu.Lock()
	s.sealed = true
	s.mu.Unlock()
	s.signal(Fresh)
	s.signal(Backlog)
}

// Stats returns the counters of the spool.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.Memory, st.Unsynced, st.Segments = s.memBytes, s.unsynced, len(s.segs)
	oldest := int64(0)
	older := func(at int64) {
		if oldest == 0 || at < oldest {
			oldest = at
		}
	}
	for _, g := range s.segs {
		st.Disk += g.size
		if g.frames > 0 {
			older(g.oldest)
		}
	}
	if len(s.mem) > 0 {
		older(s.mem[0].since)
	}
	if oldest != 0 {
		st.Oldest = time.Unix(0, oldest)
	}
	return st
}

// Close puts everything on disk, ends the spool and returns the number of points
// that are in memory only, because the disk did not take them: they are lost
// and counted as dropped. It may be called more than once.
func (s *Spool) Close() (lost int) {
	s.once.Do(func() {
		close(s.stop)
		s.wg.Wait()
		s.disk.Lock()
		defer s.disk.Unlock()
		s.retryAt = time.Time{}
		s.write()
		s.end()
		s.mu.Lock()
		for _, f := range slices.Clone(s.mem) {
			if f.seg == nil {
				lost += int(f.points)
				s.drop(f, lostEnd)
			}
		}
		s.mu.Unlock()
		s.report(true)
	})
	return lost
}

func (s *Spool) flushLoop() {
	every := s.cfg.SyncEvery
	if every <= 0 {
		every = time.Second // the bounds and the cursor have nobody else
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.kick:
		case <-s.stop:
			return
		}
		s.flush()
	}
}

func (s *Spool) flush() {
	s.disk.Lock()
	defer s.disk.Unlock()
	if !s.closed {
		s.write()
		s.report(false)
	}
}
