package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	testnet "github.com/ipfs/boxo/bitswap/testnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	delay "github.com/ipfs/go-ipfs-delay"
	tnet "github.com/libp2p/go-libp2p-testing/net"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// rounds is how often each pair is measured in turn; the best of each counts, because
// other load on the machine can only add time.
const rounds = 12

// nodeHeap is about what an idle kubo node holds.
const nodeHeap = 64 << 20

// timeOf returns the time of one call, in nanoseconds.
func timeOf(f func()) float64 {
	begin := time.Now()
	f()
	return float64(time.Since(begin).Nanoseconds())
}

// best runs the functions in turn, n calls each, and returns the shortest time per call
// of each, in nanoseconds.
func best(n int, fs ...func()) []float64 {
	out := make([]float64, len(fs))
	for r := range rounds {
		for i, f := range fs {
			runtime.GC()
			begin := time.Now()
			for range n {
				f()
			}
			if ns := float64(time.Since(begin).Nanoseconds()) / float64(n); r == 0 || ns < out[i] {
				out[i] = ns
			}
		}
	}
	return out
}

// benchBitswap is a real Bitswap, client and server as kubo runs it, on a network that
// sends nothing.
func benchBitswap(b *testing.B) *bitswap.Bitswap {
	id, err := tnet.RandIdentity()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	network := testnet.VirtualNetwork(delay.Fixed(0))
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	x := bitswap.New(ctx, network.Adapter(id), nil, store)
	b.Cleanup(func() { x.Close(); cancel() })
	return x
}

// benchMessages are n different messages of as many wants each, and their bytes. Bitswap
// looks up the block, does not have it, and answers if the want asks for that.
func benchMessages(b *testing.B, wants int, sendDontHave bool) (raw [][]byte, decoded []bsmsg.BitSwapMessage) {
	for i := range max(4, 64/wants) { // few enough to be in the cache, as a message is that was just decoded
		m := bsmsg.New(false)
		for j := range wants {
			m.AddEntry(testCID(i<<16|j), 1, pb.Message_Wantlist_Block, sendDontHave)
		}
		r, err := protoBytes(m)
		if err != nil {
			b.Fatal(err)
		}
		raw, decoded = append(raw, r), append(decoded, m)
	}
	return raw, decoded
}

// benchPeers connects as many peers as are needed to stay below the limit of each.
func benchPeers(c *Capture) []peer.ID {
	var out []peer.ID
	for i := range 64 {
		p := peer.ID(fmt.Sprintf("\x00\x24\x08\x01\x12\x20peer of the benchmark %8d%c", i, byte(i)))
		c.conns.peers.Set(p, newPeerState())
		out = append(out, p)
	}
	return out
}

// BenchmarkCapture compares what a message costs in capture with what it costs in Bitswap
// itself: decoding, and the server's handling.
func BenchmarkCapture(b *testing.B) {
	x := benchBitswap(b)
	ctx := context.Background()
	// A node has a heap; with the small heap of a test the collector would run all the
	// time, on both sides.
	ballast := make([]byte, nodeHeap)
	defer runtime.KeepAlive(ballast)
	for _, kind := range []struct {
		name  string
		wants int
		plain bool
	}{
		{"1 want", 1, false}, {"16 wants", 16, false}, {"256 wants", 256, false},
		// Without send_dont_have Bitswap has nothing to answer: the cheapest message. It
		// is reported and has no gate.
		{"1 want that needs no answer", 1, true},
	} {
		wants := kind.wants
		raw, decoded := benchMessages(b, wants, !kind.plain) // kubo asks for DONT_HAVE
		var freeSum, stalledSum float64                      // over the numbers of sinks: one pair alone is too noisy
		for _, sinks := range []int{0, 1, 8} {
			b.Run(fmt.Sprintf("%s/%d sinks", kind.name, sinks), func(b *testing.B) {
				c, peers := benchCapture(b, sinks, false)
				idle, idlePeers := benchCapture(b, sinks, true)
				for i := range bus.DefaultMaxEvents { // measure the full queue
					idle.MessageReceived(idlePeers[i%len(idlePeers)], decoded[i%len(decoded)])
				}
				var own, free, stalled float64
				i, k, l := 0, 0, 0
				for b.Loop() {
					t := best(20_000/wants,
						func() {
							i++
							m, err := parse(raw[i%len(raw)])
							if err != nil {
								b.Fatal(err)
							}
							x.ReceiveMessage(ctx, peers[i%len(peers)], m)
						},
						func() {
							k++
							c.MessageReceived(peers[k%len(peers)], decoded[k%len(decoded)])
						},
						func() {
							l++
							idle.MessageReceived(idlePeers[l%len(idlePeers)], decoded[l%len(decoded)])
						})
					own, free, stalled = t[0], t[1], t[2]
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(own, "bitswap-ns/msg")
				b.ReportMetric(free, "capture-ns/msg")
				b.ReportMetric(stalled, "stalled-ns/msg")
				b.ReportMetric(100*free/own, "%")
				b.ReportMetric(100*stalled/own, "stalled-%")
				gate := 1.5
				if wants == 1 {
					gate = 6
				}
				if share := 100 * max(free, stalled) / own; share > gate && !kind.plain {
					b.Errorf("capture costs %.2f %% of what Bitswap does with the message; at most %v %% are allowed", share, gate)
				}
				freeSum, stalledSum = freeSum+free, stalledSum+stalled
			})
		}
		if stalledSum > mostStalled*freeSum && !kind.plain {
			b.Errorf("%s: with stalled sinks a message costs %.2f of what it costs with free ones", kind.name, stalledSum/freeSum)
		}
	}
}

// mostStalled is how much more a message may cost when no sink reads: no more than the
// noise of this measurement.
const mostStalled = 1.25

// benchCapture returns a capture with n sinks, which read or are stalled.
func benchCapture(b *testing.B, sinks int, stalled bool) (*Capture, []peer.ID) {
	q := bus.New(bus.Config{})
	b.Cleanup(q.Close)
	c := New(q, nil)
	for range sinks {
		r := q.Subscribe("bench")
		if stalled {
			continue
		}
		go func() { // ends when the bus is closed
			buf := make([]*event.Event, 256)
			for {
				if _, _, err := r.Next(context.Background(), buf); err != nil {
					return
				}
			}
		}()
	}
	q.Live()
	return c, benchPeers(c)
}

// BenchmarkHostileMessage captures the message of a peer that puts 191,000 tiny CIDs into
// 3.8 MB, and fails when that costs more than 5 ms.
func BenchmarkHostileMessage(b *testing.B) {
	m := bsmsg.New(false)
	for i := range 191_000 {
		digest, err := mh.Encode(binary.BigEndian.AppendUint32(nil, uint32(i)), mh.IDENTITY)
		if err != nil {
			b.Fatal(err)
		}
		m.AddEntry(cid.NewCidV1(cid.Raw, digest), 1, pb.Message_Wantlist_Have, true)
	}
	raw, err := protoBytes(m)
	if err != nil {
		b.Fatal(err)
	}
	q := bus.New(bus.Config{})
	defer q.Close()
	q.Live()
	c := New(q, nil)
	var ns float64
	for b.Loop() {
		ns = math.MaxFloat64
		for range rounds { // each is new from the wire, as it is for the node
			m, err := parse(raw)
			if err != nil {
				b.Fatal(err)
			}
			ns = min(ns, timeOf(func() { c.MessageReceived(testPeer, m) }))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ns/1e6, "ms/msg")
	if ns > 5e6 {
		b.Errorf("a message of 191,000 CIDs costs %.1f ms, at most 5 are allowed", ns/1e6)
	}
}

// BenchmarkDHT measures how much more a request of the DHT and its answer of 1 KiB cost
// with the capture: kad-dht's own work for one is some 20 µs.
func BenchmarkDHT(b *testing.B) {
	events := bus.New(bus.Config{})
	defer events.Close()
	c := New(events, nil)
	ask := dhtFrame(byte(event.DHTGetProviders), testCID(1).Hash())
	peers := make([]byte, 0, 1024)
	for len(peers) < 960 {
		peers = append(append(peers, 8<<3|2, 100), make([]byte, 100)...)
	}
	answer := dhtFrame(byte(event.DHTGetProviders), nil, peers...)
	for _, dir := range []event.Direction{event.Received, event.Sent} {
		b.Run(dir.String(), func(b *testing.B) {
			s := &dhtStream{Stream: silentStream{}, capture: c, dir: dir}
			requests, answers := &s.received, &s.sent
			if dir == event.Sent {
				requests, answers = answers, requests
			}
			b.ReportAllocs()
			for b.Loop() {
				s.passed(requests, ask[:1], true) // kad-dht reads the length one byte at a time
				s.passed(requests, ask[1:], true)
				s.passed(answers, answer[:1], false)
				s.passed(answers, answer[1:2], false)
				s.passed(answers, answer[2:], false)
			}
		})
	}
}
