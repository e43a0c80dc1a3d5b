package peermap

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestMap compares the map with Go's, also for IDs without a last byte, and
// removes while it iterates.
func TestMap(t *testing.T) {
	var m Map[int]
	want := map[peer.ID]*int{}
	for i := range 2000 {
		p := peer.ID(fmt.Sprint(i % 700))
		if i == 0 {
			p = ""
		}
		v := &i
		if i%3 == 2 {
			v = nil
			delete(want, p)
		} else {
			want[p] = v
		}
		m.Set(p, v)
		if m.Get(p) != v {
			t.Fatalf("%q: %v, want %v", p, m.Get(p), v)
		}
	}
	if got := maps.Collect(m.All()); !maps.Equal(got, want) {
		t.Errorf("%d peers, want %d", len(got), len(want))
	}
	for p := range m.All() {
		m.Set(p, nil)
	}
	for p := range m.All() {
		t.Errorf("%q is left", p)
	}
}

// TestReadersDoNotWait is for the race detector.
func TestReadersDoNotWait(t *testing.T) {
	var m Map[int]
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range 1000 {
				m.Get(peer.ID(fmt.Sprint(i)))
			}
		})
	}
	for i := range 1000 {
		m.Set(peer.ID(fmt.Sprint(i%50)), &i)
	}
	wg.Wait()
}
