// Package probe measures how fast a DHT provides and retrieves: the measurement of
// parsec, with details that explain a slow lookup.
//
// In: a libp2p host with a routing client, bytes to provide or a CID to find.
// Out: a Measurement: how long it took, and what the lookup did in that time.
// Promised: a retrieval ends with the first provider record, and the provider
// is forgotten afterwards, so that the next run does not benefit; watching a
// lookup does not change it. Not promised: a count of the requests that store a
// record; RPCs are those of the search for the peers that store it.
//
// probe/server serves this over HTTP, probe/scheduler makes servers measure in
// turn, probe/store stores the results, probe/report prints them, and probe/lab
// runs all of it in a private DHT in one process.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

// Guard recovers from panics in all input of a probe: requests of schedulers and
// indexers, deny lists, and answers of peers in lookups.
var Guard guard.Guard

// contentBytes is how much random content a round provides.
const contentBytes = 1024

// The longest that a measurement takes. parsec has the same bounds, but none for
// retrievals.
const (
	ProvideTimeout  = 3 * time.Minute
	AnnounceTimeout = 6 * time.Minute
	RetrieveTimeout = 3 * time.Minute
)

// NotFound is the error of a retrieval that found no provider, over HTTP and in
// the store.
const NotFound = "not found"

// Target is the system that a measurement asks.
type Target string

// The targets.
const (
	DHT  Target = "DHT"
	IPNI Target = "IPNI"
)

// ParseTarget parses a target's name; "" is the DHT.
func ParseTarget(s string) (Target, error) {
	switch t := Target(strings.ToUpper(s)); t {
	case "":
		return DHT, nil
	case DHT, IPNI:
		return t, nil
	}
	return "", fmt.Errorf("routing %.32q: want DHT or IPNI", s)
}

// The steps of a measurement. Those named announce are of IPNI.
const (
	StepProvide      = "provide"
	StepAnnounce     = "announce"
	StepIndexAd      = "index_ad"
	StepIndexEntries = "index_entries"
	StepAvailability = "availability"
	StepRetrieval    = "retrieval"
)

// Step is a part of a measurement: one alone for the DHT, several for IPNI.
type Step struct {
	Step     string
	Duration time.Duration
	Error    string `json:",omitempty"`
}

// Lookup is what a lookup in the DHT did.
type Lookup struct {
	// Hops is the number of steps from a peer in the routing table to the peer
	// with the answer or, for a provide, to the farthest peer that answered.
	// 0: no peer had to be asked.
	Hops int
	// RPCs is how many requests were sent, FailedRPCs how many of them failed.
	RPCs, FailedRPCs int
	// Dials is how many peers had to be dialled, FailedDials how many of them
	// could not be reached.
	Dials, FailedDials int
	// HopTimes is when the first answer of each hop came, from the start.
	HopTimes []time.Duration
}

// Measurement is one server's result.
type Measurement struct {
	CID      cid.Cid
	Duration time.Duration
	Err      string // why it failed; "" if it did not
	Table    int    // peers in the routing table before
	Lookup   Lookup
	Steps    []Step
	Provider peer.ID // the provider that was found; "" if none was
}

// Content returns random content.
func Content() []byte {
	b := make([]byte, contentBytes)
	_, _ = rand.Read(b) // never fails
	return b
}

// CIDOf returns the CID under which content is provided: version 0 of its SHA-256.
func CIDOf(content []byte) cid.Cid {
	sum, err := mh.Sum(content, mh.SHA2_256, -1)
	if err != nil {
		panic(err) // cannot happen: SHA-256 is always registered
	}
	return cid.NewCidV0(sum)
}

// Router is what is measured: one of kad-dht's clients. FindProvidersAsync closes
// its channel when it has found the requested number of providers, when no peer
// knows more, or when ctx is done.
type Router interface {
	Provide(ctx context.Context, c cid.Cid, announce bool) error
	FindProvidersAsync(ctx context.Context, c cid.Cid, count int) <-chan peer.AddrInfo
}

// Measurer measures one host. It may be used from any goroutine, but concurrent
// measurements disturb each other.
type Measurer struct {
	Host   host.Host
	Router Router
	Table  func() int // peers in the routing table
}

// Provide measures how long it takes to publish the content's CID.
func (m *Measurer) Provide(ctx context.Context, content []byte) Measurement {
	ctx, cancel := context.WithTimeout(ctx, ProvideTimeout)
	defer cancel()
	r := Measurement{CID: CIDOf(content), Table: m.Table()}
	w := watch(ctx)
	err := m.Router.Provide(w.ctx, r.CID, true)
	r.Duration = time.Since(w.began)
	r.Lookup = w.end("", r.Duration)
	r.End(err, StepProvide)
	return r
}

// Retrieve measures how long it takes to find the first provider, and forgets
// it.
func (m *Measurer) Retrieve(ctx context.Context, c cid.Cid) Measurement {
	ctx, cancel := context.WithTimeout(ctx, RetrieveTimeout)
	defer cancel()
	r := Measurement{CID: c, Table: m.Table()}
	w := watch(ctx)
	found := m.Router.FindProvidersAsync(w.ctx, c, 1)
	p, ok := <-found
	r.Duration = time.Since(w.began)
	err := error(nil)
	if !ok {
		if err = ctx.Err(); err == nil {
			err = errors.New(NotFound)
		}
	}
	r.Provider = p.ID
	r.Lookup = w.end(p.ID, r.Duration)
	for range found { // its last goroutines
	}
	r.End(err, StepRetrieval)
	if ok {
		m.forget(p.ID)
	}
	return r
}

// forget removes what the next measurement could benefit from.
func (m *Measurer) forget(p peer.ID) {
	if p == m.Host.ID() {
		return
	}
	_ = m.Host.Network().ClosePeer(p) // it may be closed already
	m.Host.Peerstore().RemovePeer(p)
	m.Host.Peerstore().ClearAddrs(p)
}

// End sets how a measurement of one step ended. Its Duration is set before.
func (r *Measurement) End(err error, step string) {
	if err != nil {
		r.Err = err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			r.Err = "timed out"
		}
	}
	r.Steps = []Step{{Step: step, Duration: r.Duration, Error: r.Err}}
}
