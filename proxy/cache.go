package proxy

import (
	"container/list"
	"time"

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
	unread     int       // blocks read ahead and not wanted yet
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

// add stores a block; ahead: nobody wants it yet.
func (c *cache) add(blk blocks.Block, now time.Time, ahead bool) {
	if old := c.at[blk.Cid()]; old != nil {
		c.drop(old)
	}
	if len(blk.RawData()) > c.max {
		return
	}
	c.at[blk.Cid()] = c.order.PushFront(&cached{blk, now.Add(cacheFor), ahead})
	c.unread += sets.Bit(ahead)
	c.bytes += len(blk.RawData())
	for c.bytes > c.max {
		c.drop(c.order.Back())
	}
}

// expire drops blocks that are too old.
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
