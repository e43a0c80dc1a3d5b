package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-datastore/query"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

func newTestPeer(t *testing.T, number int) *ownPeer {
	t.Helper()
	p, err := newPeer(7, number)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return p
}

func TestPeerComesBackTheSame(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := newTestPeer(t, 2)
	data := content(testRand(), 300<<10)
	cids, err := add(ctx, p, data)
	if err != nil {
		t.Fatal(err)
	}
	if len(cids) != 3 {
		t.Errorf("%d blocks of a file of 300 KiB, want a root and two leaves", len(cids))
	}
	id := p.node.Identity
	if id != p.info.ID {
		t.Errorf("identity %s, want %s", id, p.info.ID)
	}
	at := fmt.Sprint(p.info.Addrs)

	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if p.hold() {
		t.Fatal("held a peer that is away")
	}
	if err := p.start(ctx); err != nil {
		t.Fatal(err)
	}
	if !p.hold() {
		t.Fatal("the peer is not there")
	}
	defer p.release()
	if p.node.Identity != id {
		t.Errorf("came back as %s, want %s", p.node.Identity, id)
	}
	if got := fmt.Sprint(p.info.Addrs); got != at {
		t.Errorf("came back at %s, want %s", got, at)
	}
	var back bytes.Buffer
	if err := p.read(ctx, cids[0], &back); err != nil || !bytes.Equal(back.Bytes(), data) {
		t.Errorf("the file it had before: %d bytes, %v, want %d", back.Len(), err, len(data))
	}

	same, err := newPeer(7, 2)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newPeer(8, 2)
	if err != nil {
		t.Fatal(err)
	}
	if same.info.ID != id || other.info.ID == id {
		t.Error("want the same identity for the same seed and number, and another one for another seed")
	}
}

// TestPeerWhosePortsAreTaken: it comes back elsewhere.
func TestPeerWhosePortsAreTaken(t *testing.T) {
	p := newTestPeer(t, 2)
	at := p.info.Addrs
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	for _, a := range at {
		network, address, err := manet.DialArgs(a)
		if err != nil {
			t.Fatal(err)
		}
		var taken io.Closer
		if strings.HasPrefix(network, "tcp") {
			taken, err = net.Listen(network, address)
		} else {
			taken, err = net.ListenPacket(network, address)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
	}
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.info.Addrs) != len(at) || slices.ContainsFunc(p.info.Addrs, func(a multiaddr.Multiaddr) bool { return multiaddr.Contains(at, a) }) {
		t.Errorf("came back at %s, was at %s, which are taken", p.info.Addrs, at)
	}
}

func TestDrop(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := newTestPeer(t, 0)
	for _, away := range []bool{false, true} {
		cids, err := add(ctx, p, content(testRand(), 300<<10))
		if err != nil {
			t.Fatal(err)
		}
		if away {
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // missing blocks are not an error
			if err := p.drop(ctx, cids); err != nil {
				t.Errorf("drop, away %v: %v", away, err)
			}
		}
		if err := p.start(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range cids {
			if _, err := p.node.Blockstore.Get(ctx, c); !ipld.IsNotFound(err) {
				t.Errorf("get after drop, away %v: %v, want not found", away, err)
			}
		}
	}
}

// TestPeersTalk connects a DHT server and a client with different agent versions; the
// client fetches and finds what the server has and provides.
func TestPeersTalk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, client := newTestPeer(t, 0), newTestPeer(t, 4)
	if server.client || !client.client {
		t.Fatal("want peer 0 as DHT server and peer 4 as client")
	}
	if err := connect(ctx, client, server.info); err != nil {
		t.Fatal(err)
	}
	for client.node.DHT.LAN.RoutingTable().Size() == 0 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	agent, err := client.node.Peerstore.Get(server.info.ID, "AgentVersion")
	if err != nil || agent != agents[0] {
		t.Errorf("agent %v, %v, want %s", agent, err, agents[0])
	}

	data := content(testRand(), 1<<20)
	cids, err := add(ctx, client, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.provide(ctx, cids[0]); err != nil {
		t.Fatal(err)
	}
	n := 0
	for n == 0 && ctx.Err() == nil { // the record is in transit
		if n, err = providers(ctx, server, cids[0], 1); err != nil {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Errorf("%d providers found, want 1", n)
	}
	// With the one above, manyRecords+1. The DHT writes records in batches: the batch is
	// bounded by the DHT, the records written so far by ours.
	store := server.node.DHT.LAN.ProviderStore()
	for i := range manyRecords {
		if err := store.AddProvider(ctx, fmt.Appendf(nil, "key %d", i), client.info); err != nil {
			t.Fatal(err)
		}
	}
	if held := manyRecords + 1 - providerRecords(t, server); held < 0 || held > maxHeldRecords {
		t.Errorf("%d of %d provider records are not written, want at most %d", held, manyRecords, maxHeldRecords)
	}
	for keep := 1; keep >= 0; keep-- {
		if err := server.dropProviders(ctx, keep); err != nil {
			t.Fatal(err)
		}
		if got := providerRecords(t, server); got != keep {
			t.Errorf("%d provider records after a trim to %d", got, keep)
		}
	}

	var got bytes.Buffer
	if err := server.read(ctx, cids[0], &got); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("fetched %d bytes, %v, want %d", got.Len(), err, len(data))
	}
	if err := disconnect(ctx, server, client.info.ID); err != nil {
		t.Fatal(err)
	}
	if c := server.node.PeerHost.Network().Connectedness(client.info.ID); c == network.Connected {
		t.Error("still connected after a disconnect")
	}
}

const (
	maxHeldRecords = 320 // kad-dht: batchBufferSize and a quarter of it
	manyRecords    = 1000
)

func providerRecords(t *testing.T, p *ownPeer) int {
	t.Helper()
	found, err := p.store.Query(t.Context(), query.Query{Prefix: records.ProvidersKeyPrefix, KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := found.Rest()
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// TestProviderFinder fails when boxo or kubo store the provider query manager elsewhere,
// so that stop would not close it.
func TestProviderFinder(t *testing.T) {
	if providerFinder(newTestPeer(t, 1).node) == nil {
		t.Error("no provider query manager found in Bitswap's client")
	}
}

func TestStopperAndCounter(t *testing.T) {
	stopped := 0
	c := &counter{w: &stopper{left: 10, stop: func() { stopped++ }}}
	if _, err := io.CopyBuffer(struct{ io.Writer }{c}, io.LimitReader(zeros{}, 9), make([]byte, 3)); err != nil || stopped != 0 {
		t.Errorf("after 9 bytes: stopped %d times, %v", stopped, err)
	}
	if _, err := c.Write([]byte{0}); err != nil || stopped != 1 || c.n != 10 {
		t.Errorf("after %d bytes: stopped %d times, %v", c.n, stopped, err)
	}
	failing := &counter{w: failWriter{}}
	if _, err := failing.Write(make([]byte, 5)); err == nil || failing.n != 2 {
		t.Errorf("counted %d bytes, %v, want the 2 that were taken", failing.n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type failWriter struct{}

func (failWriter) Write([]byte) (int, error) { return 2, errors.New("full") }
