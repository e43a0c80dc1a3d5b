package capture

import (
	"context"
	"time"

	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// MaxSearchRecords is how many records of one search become events; the rest is
// counted in the event of the search's end.
const MaxSearchRecords = 100

// Discovery wraps the content routing that an exchange searches for providers,
// so that each search becomes events of KindSearch: its beginning, the
// providers that the routing returns as they come, and its end. Give what it
// returns to providerquerymanager.New in place of d. nil returns nil.
func (c *Capture) Discovery(d routing.ContentDiscovery) routing.ContentDiscovery {
	if d == nil {
		return nil
	}
	return &watchedDiscovery{d, c}
}

type watchedDiscovery struct {
	routing.ContentDiscovery
	capture *Capture
}

// FindProvidersAsync passes on what the routing returns. A record is reported
// before the exchange has it, so that its event comes before those of what the
// exchange does with it.
func (d *watchedDiscovery) FindProvidersAsync(ctx context.Context, id cid.Cid, most int) <-chan peer.AddrInfo {
	begin := time.Now()
	d.capture.search(event.SearchBegan, id, peer.AddrInfo{}, 0, 0)
	// Ends the routing's search when nobody reads the answers any more.
	ctx, cancel := context.WithCancel(ctx)
	in := d.ContentDiscovery.FindProvidersAsync(ctx, id, most)
	out := make(chan peer.AddrInfo)
	go func() {
		defer cancel()
		defer close(out)
		records := 0
		defer func() { d.capture.search(event.SearchEnded, id, peer.AddrInfo{}, time.Since(begin), records) }()
		for p := range in {
			if records++; records <= MaxSearchRecords {
				d.capture.search(event.SearchFound, id, p, time.Since(begin), 0)
			}
			select {
			case out <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// search publishes a step of a search.
func (c *Capture) search(state event.SearchState, id cid.Cid, found peer.AddrInfo, elapsed time.Duration, records int) {
	defer c.guard.Recover("capture: a search for providers")
	e := &event.Event{Time: c.clock.now(), Kind: event.KindSearch, Peer: found.ID}
	s := &event.Search{State: state, Elapsed: elapsed, Providers: records, CID: id}
	if id.ByteLen() > event.MaxCIDBytes {
		s.CID = digestOf(e, id)
	}
	if state == event.SearchFound {
		info, _ := c.conns.peer(found.ID)
		info.fill(e)
		s.Connected = len(e.Addrs) > 0
		e.Addrs = peertext.Addrs(found.Addrs, event.MaxAddrs)
		web, _ := network.SplitHTTPAddrs(found)
		s.HTTP = len(web.Addrs) > 0
	}
	c.place(e)
	e.Search = s
	c.bus.Publish(e)
}
