package proxy

import (
	"math"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/internal/sets"
)

// cacheFor is how long a fetched block is kept: peers that want the same file are rarely at the
// same position in it.
const cacheFor = 10 * time.Second

// cache keeps the most recently fetched blocks, up to a number of bytes.
type cache struct {
	max, bytes int
	unread     int                              // blocks read ahead and not wanted yet
	blocks     *simplelru.LRU[cid.Cid, *cached] // by age: reading a block does not keep it longer
}

type cached struct {
	blk    blocks.Block
	until  time.Time
	unread bool
}

func newCache(limit int) *cache {
	c := &cache{max: limit}
	c.blocks, _ = simplelru.NewLRU(math.MaxInt, func(_ cid.Cid, b *cached) { // an error would be about a size below 1
		c.read(b)
		c.bytes -= len(b.blk.RawData())
	})
	return c
}

func (c *cache) has(k cid.Cid) bool { return c.blocks.Contains(k) }

func (c *cache) get(k cid.Cid) blocks.Block {
	b, ok := c.blocks.Peek(k)
	if !ok {
		return nil
	}
	if time.Now().After(b.until) {
		c.blocks.Remove(k)
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

// add stores a block; ahead: nobody wants it yet.
func (c *cache) add(blk blocks.Block, now time.Time, ahead bool) {
	c.blocks.Remove(blk.Cid())
	if len(blk.RawData()) > c.max {
		return
	}
	c.blocks.Add(blk.Cid(), &cached{blk, now.Add(cacheFor), ahead})
	c.unread += sets.Bit(ahead)
	c.bytes += len(blk.RawData())
	for c.bytes > c.max {
		c.blocks.RemoveOldest()
	}
}

// expire drops blocks that are too old.
func (c *cache) expire(now time.Time) {
	for {
		if _, b, ok := c.blocks.GetOldest(); !ok || !now.After(b.until) {
			return
		}
		c.blocks.RemoveOldest()
	}
}
