// Package ipni measures an indexer of IPNI: it publishes advertisements as a
// provider does, and looks CIDs up.
//
// In: content, CIDs. Out: measurements of package probe, with a step for each
// stage of a publication. Promised: an answer of the indexer is bounded in bytes,
// a measurement in time; an advertisement that the indexer may still fetch is
// kept, up to 64.
package ipni

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
	"github.com/ipfsmon/ipfsmon/probe"
)

// The names and numbers of IPNI's protocol, from github.com/ipni/go-libipni
// v0.6.18 (ingest/schema, dagsync/ipnisync, announce), which is not linked
// because it would move versions that kubo pins.
const (
	ipniPath  = "/ipni/v1/ad/"
	ipniTopic = "/indexer/ingest/mainnet"
	dagJSON   = 0x0129
	// keptAds is how many advertisements an indexer may still fetch; an indexer
	// that lags more has a hole in our chain.
	keptAds = 64
	// maxIndexerAnswer bounds what an indexer answers, in bytes.
	maxIndexerAnswer = 1 << 20
	// pollEvery is how often an indexer is asked whether it has the entry.
	pollEvery = 250 * time.Millisecond
)

// bitswapMetadata says that the content is available by Bitswap: the varint of 0x0900.
var bitswapMetadata = []byte{0x80, 0x12}

// The parts of IPNI's data as DAG-JSON, keys in order.
type (
	dagLink struct {
		CID string `json:"/"`
	}
	dagBytes struct {
		Inner struct {
			Bytes string `json:"bytes"`
		} `json:"/"`
	}
	advertisement struct {
		Addresses  []string
		ContextID  dagBytes
		Entries    dagLink
		IsRm       bool
		Metadata   dagBytes
		PreviousID *dagLink `json:",omitempty"`
		Provider   string
		Signature  dagBytes
	}
	entryChunk struct{ Entries []dagBytes }
	signedHead struct {
		Head   dagLink  `json:"head"`
		Pubkey dagBytes `json:"pubkey"`
		Sig    dagBytes `json:"sig"`
		Topic  string   `json:"topic"`
	}
	announcement struct {
		Cid       dagLink
		Addrs     [][]byte
		ExtraData []byte
		OrigPeer  string
	}
)

func asBytes(b []byte) (d dagBytes) {
	d.Inner.Bytes = base64.RawStdEncoding.EncodeToString(b)
	return d
}

// adSignature is what an advertisement's signature covers.
type adSignature struct{ digest []byte }

func (adSignature) Domain() string                   { return "indexer" }
func (adSignature) Codec() []byte                    { return []byte("/indexer/ingest/adSignature") }
func (s adSignature) MarshalRecord() ([]byte, error) { return s.digest, nil }
func (adSignature) UnmarshalRecord([]byte) error     { return errors.New("advertisements are not read") }

// Indexer measures an IPNI indexer: it publishes an advertisement of the
// content, which the indexer fetches from Handler, and looks CIDs up. It may
// be used from any goroutine.
type Indexer struct {
	URL     *url.URL       // of the indexer
	Publish ma.Multiaddr   // where the indexer finds Handler, /ip4/.../tcp/.../http
	Key     crypto.PrivKey // of the provider
	Addrs   []ma.Multiaddr // of the provider
	Client  *http.Client

	mu     sync.Mutex
	head   cid.Cid
	blocks *simplelru.LRU[cid.Cid, *served] // those of the last keptAds advertisements
}

// served is a block that the indexer may fetch.
type served struct {
	body    []byte
	fetched chan struct{} // closed when the indexer has fetched it
}

// Provide measures announcement, fetching of the advertisement and of its
// entries, and availability, one after the other.
func (x *Indexer) Provide(ctx context.Context, content []byte) probe.Measurement {
	ctx, cancel := context.WithTimeout(ctx, probe.AnnounceTimeout)
	defer cancel()
	r := probe.Measurement{CID: probe.CIDOf(content)}
	began := time.Now()
	ad, entries, err := x.advertise(r.CID)
	step := func(name string, do func() error) {
		if err != nil {
			return
		}
		at := time.Now()
		err = do()
		s := probe.Step{Step: name, Duration: time.Since(at)}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("timed out")
		}
		if err != nil {
			s.Error = err.Error()
		}
		r.Steps = append(r.Steps, s)
	}
	step(probe.StepAnnounce, func() error { return x.announce(ctx, ad) })
	step(probe.StepIndexAd, func() error { return x.await(ctx, ad) })
	step(probe.StepIndexEntries, func() error { return x.await(ctx, entries) })
	step(probe.StepAvailability, func() error { return x.available(ctx, r.CID) })
	r.Duration = time.Since(began)
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

// Retrieve measures one look-up.
func (x *Indexer) Retrieve(ctx context.Context, c cid.Cid) probe.Measurement {
	ctx, cancel := context.WithTimeout(ctx, probe.RetrieveTimeout)
	defer cancel()
	r := probe.Measurement{CID: c}
	began := time.Now()
	providers, err := x.find(ctx, c)
	r.Duration = time.Since(began)
	if err == nil && len(providers) == 0 {
		err = errors.New(probe.NotFound)
	}
	if len(providers) > 0 {
		r.Provider = providers[0]
	}
	r.End(err, probe.StepRetrieval)
	return r
}

// advertise puts an advertisement of one CID at the head of the chain.
func (x *Indexer) advertise(c cid.Cid) (ad, entries cid.Cid, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.blocks == nil {
		x.blocks, _ = simplelru.NewLRU[cid.Cid, *served](2*keptAds, nil) // an error would be about a size below 1
	}
	id, err := peer.IDFromPrivateKey(x.Key)
	if err != nil {
		return ad, entries, fmt.Errorf("make an advertisement: %w", err)
	}
	if entries, err = x.store(entryChunk{Entries: []dagBytes{asBytes(c.Hash())}}); err != nil {
		return ad, entries, err
	}
	a := advertisement{ContextID: asBytes(c.Hash()), Entries: dagLink{entries.String()}, Metadata: asBytes(bitswapMetadata), Provider: id.String(), Addresses: []string{}}
	for _, addr := range x.Addrs {
		a.Addresses = append(a.Addresses, addr.String())
	}
	if x.head.Defined() {
		a.PreviousID = &dagLink{x.head.String()}
	}
	signed := slices.Concat(x.head.Bytes(), entries.Bytes(), []byte(a.Provider), []byte(strings.Join(a.Addresses, "")), bitswapMetadata, []byte{0})
	digest, err := mh.Sum(signed, mh.SHA2_256, -1)
	if err != nil {
		return ad, entries, fmt.Errorf("make an advertisement: %w", err)
	}
	envelope, err := record.Seal(adSignature{digest}, x.Key)
	if err != nil {
		return ad, entries, fmt.Errorf("sign an advertisement: %w", err)
	}
	signature, err := envelope.Marshal()
	if err != nil {
		return ad, entries, fmt.Errorf("sign an advertisement: %w", err)
	}
	a.Signature = asBytes(signature)
	if ad, err = x.store(a); err == nil {
		x.head = ad
	}
	return ad, entries, err
}

// store keeps a block for the indexer; the caller holds mu.
func (x *Indexer) store(v any) (cid.Cid, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return cid.Undef, fmt.Errorf("encode for the indexer: %w", err)
	}
	c, err := cid.Prefix{Version: 1, Codec: dagJSON, MhType: mh.SHA2_256, MhLength: -1}.Sum(b)
	if err != nil {
		return cid.Undef, fmt.Errorf("encode for the indexer: %w", err)
	}
	x.blocks.Add(c, &served{b, make(chan struct{})})
	return c, nil
}

// ServeHTTP serves the head of the chain and its blocks to the indexer.
func (x *Indexer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, ipniPath)
	if !ok || r.Method != http.MethodGet {
		http.Error(w, "want GET "+ipniPath+"head or "+ipniPath+"CID", http.StatusNotFound)
		return
	}
	body, err := x.block(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // if that fails, the indexer has disconnected
}

func (x *Indexer) block(name string) ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if name == "head" {
		return x.signedHead()
	}
	c, err := cidtext.Parse(name)
	if err != nil {
		return nil, errors.New("not a CID")
	}
	var b *served
	if x.blocks != nil {
		b, _ = x.blocks.Peek(c)
	}
	if b == nil {
		return nil, errors.New("no such block")
	}
	select {
	case <-b.fetched:
	default:
		close(b.fetched)
	}
	return b.body, nil
}

// signedHead returns the signed CID of the newest advertisement; the caller holds
// mu.
func (x *Indexer) signedHead() ([]byte, error) {
	if !x.head.Defined() {
		return nil, errors.New("nothing is advertised yet")
	}
	pub, err := crypto.MarshalPublicKey(x.Key.GetPublic())
	if err != nil {
		return nil, err
	}
	sig, err := x.Key.Sign(slices.Concat(x.head.Bytes(), []byte(ipniTopic)))
	if err != nil {
		return nil, err
	}
	return json.Marshal(signedHead{Head: dagLink{x.head.String()}, Topic: ipniTopic, Pubkey: asBytes(pub), Sig: asBytes(sig)})
}

// announce sends the indexer the CID of an advertisement.
func (x *Indexer) announce(ctx context.Context, ad cid.Cid) error {
	id, err := peer.IDFromPrivateKey(x.Key)
	if err != nil {
		return err
	}
	addr := x.Publish.Encapsulate(ma.StringCast("/p2p/" + id.String()))
	body, err := json.Marshal(announcement{Cid: dagLink{ad.String()}, Addrs: [][]byte{addr.Bytes()}})
	if err != nil {
		return err
	}
	status, answer, err := x.ask(ctx, http.MethodPut, "announce", body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("the indexer rejects the announcement: %d %.200s", status, bytes.TrimSpace(answer))
	}
	return err
}

func (x *Indexer) await(ctx context.Context, c cid.Cid) error {
	x.mu.Lock()
	b, ok := x.blocks.Peek(c)
	x.mu.Unlock()
	if !ok {
		return errors.New("too many advertisements at once")
	}
	select {
	case <-b.fetched:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *Indexer) available(ctx context.Context, c cid.Cid) error {
	id, err := peer.IDFromPrivateKey(x.Key)
	if err != nil {
		return err
	}
	for {
		// An indexer that fails temporarily is asked again.
		if found, err := x.find(ctx, c); err == nil && slices.Contains(found, id) {
			return nil
		}
		if err := backoff.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// find returns the providers that the indexer has for a CID, possibly none.
func (x *Indexer) find(ctx context.Context, c cid.Cid) ([]peer.ID, error) {
	status, body, err := x.ask(ctx, http.MethodGet, "multihash/"+c.Hash().B58String(), nil)
	if err != nil || status == http.StatusNotFound {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("the indexer answers %d %.200s", status, bytes.TrimSpace(body))
	}
	var answer struct {
		MultihashResults []struct {
			ProviderResults []struct{ Provider struct{ ID string } }
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the indexer's answer: %w", err)
	}
	var out []peer.ID
	for _, m := range answer.MultihashResults {
		for _, p := range m.ProviderResults {
			if id, err := peertext.ID(p.Provider.ID); err == nil {
				out = append(out, id)
			}
		}
	}
	return out, nil
}

func (x *Indexer) ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, x.URL.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := x.Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxIndexerAnswer+1))
	if err == nil && len(answer) > maxIndexerAnswer {
		err = fmt.Errorf("the indexer's answer is too long: want at most %d bytes", maxIndexerAnswer)
	}
	return res.StatusCode, answer, err
}
