package schema

import (
	"slices"
	"strconv"
)

// Counted are sums of history by what is no tag of it: a field, or the class of a number. They have
// rollups alone, no points of history.
var Counted = []*Measurement{Lifetimes, BlockSizes, Asking}

// Summed lists all measurements that may have rollups.
func Summed() []*Measurement { return slices.Concat(All, Counted) }

// Upper bounds of classes, each a part of its class; the last class has none.
var (
	LifetimeBounds  = []int64{1_000, 10_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 86_400_000}        // ms
	BlockSizeBounds = []int64{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 260 << 10, 512 << 10, 1 << 20, 2 << 20} // bytes; 260 KiB: a chunk of 256 KiB and what is around it
)

// Class returns the place of a number's class.
func Class(bounds []int64, v int64) int {
	i, _ := slices.BinarySearch(bounds, v)
	return i
}

// classes are the names of classes: their upper bounds, divided by unit, and more.
func classes(bounds []int64, unit int64) (names []string) {
	for _, b := range bounds {
		names = append(names, strconv.FormatInt(b/unit, 10))
	}
	return append(names, "more")
}

var Lifetimes = &Measurement{
	Name: "lifetimes", Kind: History,
	Point:   "the connections that ended and whose opening was seen, by how long they lived",
	Answers: "How long do connections last?",
	Query:   `SELECT sum(connections) FROM totals.lifetimes_1h WHERE time > now() - 7d GROUP BY up_to_s`,
	Tags: []Tag{TagInOut, tagNode, TagTransport,
		{Key: "up_to_s", Values: classes(LifetimeBounds, 1000), Help: "class of the time that the connection was open: more than the class before, and at most so many seconds"}},
	Rollup: []Sum{{"connections", "count", "duration_ms"}, {"sum_ms", "sum", "duration_ms"}, {"max_ms", "max", "duration_ms"}},
}

var BlockSizes = &Measurement{
	Name: "block_sizes", Kind: History,
	Point:   "the blocks in messages, by their size",
	Answers: "How large are the blocks?",
	Query:   `SELECT sum(blocks), sum(bytes) FROM totals.block_sizes_1h WHERE time > now() - 7d GROUP BY direction, up_to_bytes`,
	Tags: []Tag{tagCodec, TagDirection, tagNode,
		{Key: "up_to_bytes", Values: classes(BlockSizeBounds, 1), Help: "class of the size: more than the class before, and at most so many bytes"}},
	Rollup: []Sum{{"blocks", "count", "size"}, {"bytes", "sum", "size"}, {"max_bytes", "max", "size"}},
}

var Asking = &Measurement{
	Name: "asking", Kind: History,
	Point:   "the wants, without cancels, by how they ask",
	Answers: "How do peers ask?",
	Query:   `SELECT sum(wants) FROM totals.asking_1h WHERE time > now() - 7d AND direction = 'received' GROUP BY send_dont_have, type`,
	Tags: []Tag{TagDirection,
		{Key: "full", Values: []string{"false", "true"}, Help: "whether the message had a full wantlist, not an update"},
		tagNode,
		{Key: "send_dont_have", Values: []string{"false", "true"}, Help: "whether the sender requests DONT_HAVE"},
		{Key: "type", Values: []string{"want_block", "want_have", "other"}, Help: "type of the entry"}},
	Rollup: []Sum{{"wants", "count", "cid"}},
}
