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

// Defaults of Config.
const (
	DefaultMaxBytes  = 4 << 30
	defaultSyncBytes = 1 << 20
	defaultMaxMemory = 64 << 20
	defaultFreshFor  = 5 * time.Second
	segmentBytes     = 8 << 20
)

// The lanes of Next.
const (
	Fresh   = iota // batches put recently
	Either         // the backlog; recent batches while there is none
	Backlog        // batches left by an earlier process, or not delivered at once
	Lanes
)

// ErrDrained means that the spool is sealed and a lane is empty.
var ErrDrained = errors.New("spool: everything is delivered")

// Config of a spool. Only Dir is required.
type Config struct {
	Dir       string        // folder of the spool, created if missing
	MaxBytes  int64         // on disk; beyond it the oldest segment is removed. Default 4 GiB, at least 64 KiB
	MaxAge    time.Duration // of a segment's newest batch; 0: no limit
	SyncEvery time.Duration // maximum time from Put to disk; 0: Put waits for the disk
	syncBytes int           // written before SyncEvery once so much waits. Default 1 MiB
	MaxMemory int           // of batches held in memory. Default 64 MiB
	freshFor  time.Duration // age at which the fresh lane becomes backlog. Default 5 s
	MaxPoints int           // of batches joined for delivery. Default 5000
	MaxJoin   int           // their bytes. Default 8 MiB

	Unit    string           // of points, in log lines. Default: points
	Release func([]byte)     // called with the memory of settled batches; may be nil
	Log     *slog.Logger     // nil: slog.Default()
	fs      fileSystem       // nil: the machine's
	now     func() time.Time // nil: time.Now
}

// Batch is returned by Next: whole batches of one kind, joined.
type Batch struct {
	Kind   byte
	Points int
	Data   []byte // valid until Ack
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
	unread      bool  //  it could not be read; retried at the next flush
}

// Stats is the state of a spool.
type Stats struct {
	Points   int // pending
	Frames   int // pending
	Memory   int // bytes held in memory
	Unsynced int // accepted bytes that are not on disk yet
	Disk     int64
	Segments int
	Oldest   time.Time // when the oldest pending point was accepted; zero: none
	Restored uint64    // points found by Open
	Dropped  uint64    // points lost because of the limits
	// DroppedBytes is the payload of Dropped.
	DroppedBytes uint64
	Damaged      uint64 // points of damaged frames whose header was right
	Holes        uint64 // ranges of segments that are not frames
	HoleBytes    uint64
	Corruption   error // the most recent damage, a *CorruptionError; nil: none
	DiskErrors   uint64
	SyncErrors   uint64 // fsync failed; these are among DiskErrors
	Err          error  // why batches are kept in memory only; nil: the disk works
}

// Spool keeps batches. Its methods may be called from several goroutines.
type Spool struct {
	cfg  Config
	stop chan struct{}
	kick chan struct{} // cap 1: syncBytes wait
	wg   sync.WaitGroup
	once sync.Once

	lines    [reasons]throttle.Loss
	diskLine throttle.Line

	// disk is locked before mu. It guards the files and the fields next to it.
	disk    sync.Mutex
	lock    io.Closer
	active  openFile
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
	dirty    bool       // done differs from the cursor file
	leased   map[uint64]*frame
	sealed   bool
	losses   [reasons]int // points not logged yet
	wake     [Lanes]chan struct{}
	st       Stats
}

// Open opens or creates a spool. The only errors are an invalid Config and errLocked: if the
// folder cannot be used, Stats.Err says why, and the spool retries.
func Open(cfg Config) (*Spool, error) {
	if cfg.Dir == "" {
		return nil, errors.New("spool: Dir is not set: want a folder")
	}
	def(&cfg.MaxBytes, DefaultMaxBytes)
	def(&cfg.syncBytes, defaultSyncBytes)
	def(&cfg.MaxMemory, defaultMaxMemory)
	def(&cfg.freshFor, defaultFreshFor)
	def(&cfg.MaxPoints, 5000)
	def(&cfg.MaxJoin, 8<<20)
	if cfg.MaxBytes < 64<<10 {
		return nil, fmt.Errorf("spool: MaxBytes is %d: want 65536 or more", cfg.MaxBytes)
	}
	def(&cfg.Unit, "points")
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.fs == nil {
		cfg.fs = osFS{}
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	s := &Spool{cfg: cfg, stop: make(chan struct{}), kick: make(chan struct{}, 1), next: 1, mark: 1, leased: map[uint64]*frame{}}
	for l := range s.wake {
		s.wake[l] = make(chan struct{}, 1)
	}
	s.disk.Lock()
	err := s.attach()
	s.disk.Unlock()
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err != nil {
		s.fail(err)
	}
	s.wg.Go(s.flushLoop)
	return s, nil
}

func def[T int | int64 | time.Duration | string](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Put adds a batch and owns data from then on. It does not wait for the disk unless SyncEvery
// is 0.
func (s *Spool) Put(kind byte, points int, since time.Time, data []byte) {
	s.mu.Lock()
	f := &frame{ref: ref{seq: s.next, since: since.UnixNano(), points: uint32(points), length: uint32(len(data)), kind: kind}, at: s.cfg.now(), data: data}
	s.next++
	s.mem = append(s.mem, f)
	s.memBytes += cap(data)
	s.unsynced += len(data)
	s.st.Points += points
	s.st.Frames++
	s.evict(s.cfg.MaxMemory)
	full := s.unsynced >= s.cfg.syncBytes
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

// evict enforces the memory limit: it first evicts frames that are on disk, then drops the
// oldest of the others. The caller holds mu.
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

// forget removes a frame from memory.
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

// settle marks a frame as needing no delivery. The caller holds mu.
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
			g.oldest = 0 // the next frame in it is the oldest
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

// reason is why points are lost. Each reason has its own log line.
type reason int

const (
	lostMemory reason = iota // memory is full, and the disk fails
	lostBounds               // the limit of the disk or of age
	lostSize                 // a batch larger than the limits
	lostDamage               // bytes on disk are not what was written
	lostEnd                  // at the end, without a disk
	reasons
)

// report logs the losses since the previous lines; at the end all of them. The caller holds no
// lock but disk.
func (s *Spool) report(end bool) {
	s.mu.Lock()
	losses, err, corrupt := s.losses, s.st.Err, s.st.Corruption
	s.losses = [reasons]int{}
	s.mu.Unlock()
	unit := s.cfg.Unit
	for why, n := range losses {
		if n == 0 {
			continue
		}
		line := &s.lines[why]
		switch reason(why) {
		case lostMemory:
			line.Warn(s.cfg.Log, "spool: "+unit+" dropped, memory is full and the disk fails", unit, n, "max_memory", s.cfg.MaxMemory, "err", err)
		case lostBounds:
			line.Warn(s.cfg.Log, "spool: the oldest "+unit+" are dropped, the limit is reached", unit, n, "max_bytes", s.cfg.MaxBytes, "max_age", s.cfg.MaxAge)
		case lostSize:
			line.Warn(s.cfg.Log, "spool: "+unit+" dropped, their batch is larger than the limit of the spool", unit, n, "max_bytes", s.cfg.MaxBytes)
		case lostDamage:
			line.Warn(s.cfg.Log, "spool: "+unit+" are lost, the disk has changed or removed them; the remaining bytes are in "+quarantineName, unit, n, "dir", s.cfg.Dir, "err", corrupt)
		case lostEnd:
			line.Warn(s.cfg.Log, "spool: "+unit+" dropped at the end, the disk fails", unit, n, "err", err)
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

// drop drops a frame. The caller holds mu.
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
			s.signal(lane) // wakes another waiter: there may be more
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

// Join changes Config.MaxPoints.
func (s *Spool) Join(points int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.MaxPoints = points
}

// pick leases frames of one kind, as many as may be joined. If a segment must be loaded first,
// it returns that segment. The caller holds mu.
func (s *Spool) pick(lane int) (frames []*frame, load *segment) {
	from, to := uint64(0), s.mark
	if lane == Fresh {
		from, to = s.mark, s.next
	}
	points, size := 0, 0
	// take reports whether there may be room for more.
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
		if f.leased || f.seg != nil { // on disk: checked above
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

// stale moves everything to the backlog if the oldest frame of the fresh lane is no longer
// fresh, so that new frames do not wait for it.
func (s *Spool) stale(f *frame) bool {
	if s.sealed || s.cfg.now().Sub(f.at) <= s.cfg.freshFor || s.mark == s.next {
		return false
	}
	s.mark = s.next
	s.signal(Backlog)
	return true
}

// Ack settles a batch from Next: it is delivered, or needs no delivery.
func (s *Spool) Ack(b *Batch) {
	s.mu.Lock()
	for _, f := range b.frames {
		s.settle(f)
	}
	s.mu.Unlock()
	b.frames, b.Data = nil, nil
}

// Back makes Next return a batch again: it was not delivered. Frames whose segment was dropped
// meanwhile, because of the limits, are lost and counted. The batch must not be used afterwards.
func (s *Spool) Back(b *Batch) {
	s.mu.Lock()
	s.release(b.frames)
	s.mu.Unlock()
	b.frames, b.Data = nil, nil
}

// release makes Next return frames again. Those whose segment was dropped meanwhile are lost and
// counted. The caller holds mu.
func (s *Spool) release(frames []*frame) {
	for _, f := range frames {
		if f.seg == nil && s.inMemory(f.seq) < 0 && !s.done.has(f.seq) {
			s.drop(f, lostBounds)
		}
		f.leased = false
		delete(s.leased, f.seq)
	}
	s.signal(Fresh)
	s.signal(Backlog)
}

// Seal declares that Put will not be called again: Next ends when its lane is empty.
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

// Close writes everything to disk, closes the spool and returns the number of points that could
// not be written: they are lost and counted as dropped. It may be called more than once.
func (s *Spool) Close() (lost int) {
	s.once.Do(func() {
		close(s.stop)
		s.wg.Wait()
		s.disk.Lock()
		defer s.disk.Unlock()
		s.retryAt = time.Time{}
		s.write(0)
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

// flushLoop writes to disk what waits since half of SyncEvery, twice as often, so that
// a batch that is delivered sooner is not written at all, unless SyncBytes wait.
func (s *Spool) flushLoop() {
	every := s.cfg.SyncEvery / 2
	if every <= 0 {
		every = time.Second // nothing else applies the limits and writes the cursor
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.flushOld(s.cfg.SyncEvery / 2)
		case <-s.kick:
			s.flush()
		case <-s.stop:
			return
		}
	}
}

// flush writes everything to disk.
func (s *Spool) flush() { s.flushOld(0) }

// flushOld writes what is at least so old to disk.
func (s *Spool) flushOld(age time.Duration) {
	s.disk.Lock()
	defer s.disk.Unlock()
	if !s.closed {
		s.write(age)
		s.report(false)
	}
}
