package proxy

import (
	"container/list"
	"slices"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/event"
)

// cacheFor is how long a block is kept that was fetched: peers that want the
// same file are seldom at the same place in it.
const cacheFor = 10 * time.Second

// cache keeps the blocks that were fetched last, within a number of bytes.
type cache struct {
	max, bytes int
	unread     int       // those that were asked for ahead, and not wanted yet
	order      list.List // *cached, the newest first
	at         map[cid.Cid]*list.Element
}

type cached struct {
	blk    blocks.Block
	until  time.Time
	unread bool
}

func newCache(limit int) *cache { return &cache{max: limit, at: map[cid.Cid]*list.Element{}} }

func (c *cache) get(k cid.Cid) blocks.Block {
	x := c.at[k]
	if x == nil {
		return nil
	}
	b := x.Value.(*cached)
	if time.Now().After(b.until) {
		c.drop(x)
		return nil
	}
	c.read(b)
	return b.blk
}

func (c *cache) read(b *cached) {
	if b.unread {
		b.unread = false
		c.unread--
	}
}

// add keeps a block; ahead: nobody wants it yet.
func (c *cache) add(blk blocks.Block, now time.Time, ahead bool) {
	if old := c.at[blk.Cid()]; old != nil {
		c.drop(old)
	}
	if len(blk.RawData()) > c.max {
		return
	}
	c.at[blk.Cid()] = c.order.PushFront(&cached{blk, now.Add(cacheFor), ahead})
	c.unread += bit(ahead)
	c.bytes += len(blk.RawData())
	for c.bytes > c.max {
		c.drop(c.order.Back())
	}
}

// expire drops what is too old.
func (c *cache) expire(now time.Time) {
	for x := c.order.Back(); x != nil && now.After(x.Value.(*cached).until); x = c.order.Back() {
		c.drop(x)
	}
}

func (c *cache) drop(x *list.Element) {
	b := c.order.Remove(x).(*cached)
	c.read(b)
	delete(c.at, b.blk.Cid())
	c.bytes -= len(b.blk.RawData())
}

// maxPast is how many CIDs a node is remembered to have been asked for: what
// it sends of them came late, and is no lie.
const maxPast = 16384

// pastCIDs remembers the last CIDs that it was given.
type pastCIDs struct {
	ring []cid.Cid
	next int
	n    map[cid.Cid]int
}

func (p *pastCIDs) add(c cid.Cid) {
	if p.n == nil {
		p.n = map[cid.Cid]int{}
	}
	p.n[c]++
	if len(p.ring) < maxPast {
		p.ring = append(p.ring, c)
		return
	}
	old := p.ring[p.next]
	if p.n[old]--; p.n[old] == 0 {
		delete(p.n, old)
	}
	p.ring[p.next] = c
	p.next = (p.next + 1) % maxPast
}

func (p *pastCIDs) has(c cid.Cid) bool { return p.n[c] > 0 }

// maxSamples is how many durations of an interval its quantiles are made of.
const maxSamples = 4096

// histogram sums durations; its quantiles are of the last maxSamples.
type histogram struct {
	count   uint64
	sum     time.Duration
	max     time.Duration
	samples []time.Duration
	buckets [len(rttBuckets) + 1]uint64 // since the start, for Prometheus
	total   uint64
	all     time.Duration
}

// rttBuckets are kitsune's, in milliseconds.
var rttBuckets = [...]float64{250, 500, 1000, 2000, 3000, 5000, 10000, 30000, 60000}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	if len(h.samples) < maxSamples {
		h.samples = append(h.samples, d)
	} else {
		h.samples[h.count%maxSamples] = d
	}
	h.count++
	h.sum += d
	h.max = max(h.max, d)
	h.total++
	h.all += d
	i := 0
	for i < len(rttBuckets) && float64(d)/float64(time.Millisecond) > rttBuckets[i] {
		i++
	}
	h.buckets[i]++
}

// take returns the interval's figures and begins the next one.
func (h *histogram) take() event.LatencyStats {
	out := event.LatencyStats{Count: h.count, Sum: h.sum, Max: h.max}
	if n := len(h.samples); n > 0 {
		slices.Sort(h.samples)
		at := func(q float64) time.Duration { return h.samples[min(n-1, int(q*float64(n)))] }
		out.P50, out.P90, out.P99 = at(0.5), at(0.9), at(0.99)
	}
	h.count, h.sum, h.max, h.samples = 0, 0, 0, h.samples[:0]
	return out
}
