package main

import (
	"testing"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/routing"
)

// linked are variables of libp2p's packages after all packages of the program were
// initialised.
var linked = [2]int{routing.QueryEventBufferSize, dht.LookupEventBufferSize}

// TestTheProgramChangesNoOtherPackage: a node that the program runs has kad-dht's own
// buffers, although the probe, which needs larger ones, is linked in.
func TestTheProgramChangesNoOtherPackage(t *testing.T) {
	if want := [2]int{16, 16}; linked != want {
		t.Errorf("buffers of the events of queries and lookups: %v, want kad-dht's %v", linked, want)
	}
}
