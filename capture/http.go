package capture

import (
	"maps"
	"runtime"
	"strings"
	"sync/atomic"

	bsmsg "github.com/ipfs/boxo/bitswap/message"

	"github.com/ipfsmon/ipfsmon/event"
)

// boxo also fetches blocks by HTTP, from peers that announce an HTTP address. It
// turns the answers into Bitswap messages and passes them to the tracer like
// those of a stream, under the peer's ID. Nothing in a message says that it came
// by HTTP, and the peer may be connected by libp2p as well. Only the call stack
// tells the two apart.

// httpPackage is the package that makes those messages.
const httpPackage = "github.com/ipfs/boxo/bitswap/network/httpnet."

// callers remembers which places in the program make messages of HTTP answers.
// Its zero value is ready for use.
type callers struct {
	known atomic.Pointer[map[uintptr]bool] // by program counter; replaced, never changed
}

// callersLooked is how many callers of the tracer are examined: Bitswap and its
// network.
const callersLooked = 4

// http reports whether the tracer was called for an answer by HTTP. It looks at
// the callers of the function that calls fromHTTP.
func (c *callers) http() bool {
	var pcs [callersLooked]uintptr
	for _, pc := range pcs[:runtime.Callers(3, pcs[:])] {
		if c.is(pc) {
			return true
		}
	}
	return false
}

func (c *callers) is(pc uintptr) bool {
	known := c.known.Load()
	if known != nil {
		if is, there := (*known)[pc]; there {
			return is
		}
	}
	is := false
	frames := runtime.CallersFrames([]uintptr{pc})
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		is = is || strings.HasPrefix(f.Function, httpPackage)
	}
	next := map[uintptr]bool{pc: is}
	if known != nil {
		maps.Copy(next, *known)
	}
	c.known.Store(&next) // may overwrite what another goroutine found: that is found again
	return is
}

// httpCounters counts what came by HTTP.
type httpCounters struct{ messages, have, dontHave, blocks, blockBytes atomic.Uint64 }

// FromHTTP returns what came by HTTP since the start. No event and no Bitswap
// counter includes it.
func (c *Capture) FromHTTP() event.Traffic {
	h := &c.byHTTP
	return event.Traffic{
		Messages: h.messages.Load(), Have: h.have.Load(), DontHave: h.dontHave.Load(), Blocks: h.blocks.Load(), BlockBytes: h.blockBytes.Load(),
	}
}

// fromHTTP reports whether a message came by HTTP, and counts it if so. Such a
// message has no wants.
func (c *Capture) fromHTTP(m bsmsg.BitSwapMessage) bool {
	wants, presences, blocks := boxoShape.lengths(m)
	if wants > 0 || presences+blocks == 0 || !c.callers.http() {
		return false
	}
	h := &c.byHTTP
	h.messages.Add(1)
	h.have.Add(uint64(len(m.Haves())))
	h.dontHave.Add(uint64(len(m.DontHaves())))
	for _, b := range m.Blocks() {
		h.blocks.Add(1)
		h.blockBytes.Add(uint64(len(b.RawData())))
	}
	return true
}
