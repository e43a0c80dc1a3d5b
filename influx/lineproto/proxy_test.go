package lineproto

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// One point for the proxy, one for each node by its name; the share is of the
// verified blocks; nodes beyond the limit have one point together.
func TestProxyPoints(t *testing.T) {
	p := &event.Proxy{Interval: time.Second, UpstreamPeers: 7, Sent: event.Traffic{Blocks: 3, BlockBytes: 4},
		Answer: event.LatencyStats{Count: 2, Sum: 4 * time.Millisecond, P50: time.Millisecond}}
	for i, n := range []uint64{30, 10, 0} {
		p.Downstreams = append(p.Downstreams, event.ProxyDownstream{
			Name: fmt.Sprintf("node %d", i), Peer: influxtest.Peer(i), Connected: i < 2, Stalled: i == 1, Verified: n, Refused: 5,
			RTT: event.LatencyStats{Count: 1, Sum: time.Millisecond, P50: time.Millisecond},
		})
	}
	got := influxtest.Encode(NewEncoder("front", true), &event.Event{Time: influxtest.Time, Kind: event.KindProxy, Proxy: p})
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4:\n%s", len(lines), got)
	}
	for i, want := range []string{"proxy,node=front ", `proxy_downstreams,downstream=node\ 0,node=front `, `proxy_downstreams,downstream=node\ 1,node=front `, `proxy_downstreams,downstream=node\ 2,node=front `} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("%s: want it to begin with %s", lines[i], want)
		}
	}
	for i, wants := range [][]string{{"upstream_peers=7i", "downstream_peers=2i", "blocks=3i", "block_bytes=4i", "answer_mean_us=2000i", "answer_p50_us=1000i"},
		{"connected=true", "stalled=false", "share_permille=750i", "verified=30i", "refused=5i", "rtt_mean_us=1000i"},
		{"connected=true", "stalled=true", "share_permille=250i"}, {"connected=false", "share_permille=0i"}} {
		for _, want := range wants {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: want %s in it", lines[i], want)
			}
		}
	}
	for i := range 2 * schema.MaxDownstreams {
		p.Downstreams = append(p.Downstreams, event.ProxyDownstream{Name: fmt.Sprint(i)})
	}
	got = influxtest.Encode(NewEncoder("front", true), &event.Event{Time: influxtest.Time, Kind: event.KindProxy, Proxy: p})
	if n := strings.Count(got, "proxy_downstreams,"); n != schema.MaxDownstreams {
		t.Errorf("%d points of nodes, want %d", n, schema.MaxDownstreams)
	}
}
