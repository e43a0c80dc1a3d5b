package ipni

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeIndexer fetches advertisements over HTTP as IPNI's indexers do, verifies them, and
// answers look-ups.
type fakeIndexer struct {
	t      *testing.T
	key    crypto.PubKey
	mu     sync.Mutex
	found  map[string]string // multihash in base58 -> provider
	status int               // of announcements, 0: 204
	wg     sync.WaitGroup
}

func (f *fakeIndexer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/announce" {
		if f.status != 0 {
			w.WriteHeader(f.status)
			return
		}
		var a announcement
		if r.Method != http.MethodPut || json.NewDecoder(r.Body).Decode(&a) != nil || len(a.Addrs) != 1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		f.wg.Go(func() { f.fetch(a) })
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := f.found[strings.TrimPrefix(r.URL.Path, "/multihash/")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"MultihashResults": []any{map[string]any{"ProviderResults": []any{map[string]any{"Provider": map[string]any{"ID": id}}}}}})
}

func (f *fakeIndexer) fetch(a announcement) {
	addr, err := ma.NewMultiaddrBytes(a.Addrs[0])
	if err != nil {
		f.t.Error(err)
		return
	}
	info, err := peer.AddrInfoFromP2pAddr(addr)
	if err != nil {
		f.t.Error(err)
		return
	}
	// DialArgs does not accept /http at the end.
	_, at, err := manet.DialArgs(info.Addrs[0].Decapsulate(ma.StringCast("/http")))
	if err != nil {
		f.t.Error(err)
		return
	}
	get := func(name string, into any) {
		res, err := http.Get("http://" + at + ipniPath + name)
		if err != nil {
			f.t.Error(err)
			return
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(into); err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
	}
	var head signedHead
	get("head", &head)
	if head.Head != a.Cid || head.Topic != ipniTopic {
		f.t.Errorf("head %v, announced %v", head, a.Cid)
	}
	c, err := cid.Decode(head.Head.CID)
	if err != nil {
		f.t.Error(err)
		return
	}
	if ok, err := f.key.Verify(append(c.Bytes(), ipniTopic...), raw(f.t, head.Sig)); !ok || err != nil {
		f.t.Errorf("the head's signature: %v", err)
	}
	var ad advertisement
	get(head.Head.CID, &ad)
	f.verify(ad, info.ID)
	var entries entryChunk
	get(ad.Entries.CID, &entries)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries.Entries {
		f.found[mh.Multihash(raw(f.t, e)).B58String()] = ad.Provider
	}
}

func (f *fakeIndexer) verify(ad advertisement, from peer.ID) {
	envelope, err := record.ConsumeTypedEnvelope(raw(f.t, ad.Signature), &digest{})
	if err != nil || !envelope.PublicKey.Equals(f.key) {
		f.t.Errorf("the advertisement's signature: %v", err)
	}
	if ad.Provider != from.String() || ad.IsRm {
		f.t.Errorf("advertisement %+v", ad)
	}
}

type digest struct{ adSignature }

func (d *digest) UnmarshalRecord([]byte) error { return nil }

func raw(t *testing.T, d dagBytes) []byte {
	var b []byte
	if err := json.Unmarshal([]byte(`"`+pad(d.Inner.Bytes)+`"`), &b); err != nil {
		t.Error(err)
	}
	return b
}

// pad adds the padding to base64 that encoding/json requires.
func pad(s string) string { return s + strings.Repeat("=", (4-len(s)%4)%4) }

func TestIPNI(t *testing.T) {
	key, pub, err := crypto.GenerateEd25519Key(nil)
	require.NoError(t, err)
	f := &fakeIndexer{t: t, key: pub, found: map[string]string{}}
	indexer := httptest.NewServer(f)
	defer indexer.Close()
	defer f.wg.Wait()
	u, err := url.Parse(indexer.URL)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	defer http.DefaultClient.CloseIdleConnections()
	x := &Indexer{URL: u, Key: key, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/4001")}, Client: client}
	publisher := httptest.NewServer(x)
	defer publisher.Close()
	at, err := manet.FromNetAddr(publisher.Listener.Addr().(*net.TCPAddr))
	require.NoError(t, err)
	x.Publish = at.Encapsulate(ma.StringCast("/http"))

	for range 3 { // a chain of three
		content := probe.Content()
		require.Equal(t, probe.NotFound, x.Retrieve(t.Context(), probe.CIDOf(content)).Err)
		m := x.Provide(t.Context(), content)
		require.Empty(t, m.Err)
		var steps []string
		for _, s := range m.Steps {
			steps = append(steps, s.Step)
		}
		require.Equal(t, []string{probe.StepAnnounce, probe.StepIndexAd, probe.StepIndexEntries, probe.StepAvailability}, steps)
		r := x.Retrieve(t.Context(), m.CID)
		require.Empty(t, r.Err)
		id, err := peer.IDFromPrivateKey(key)
		require.NoError(t, err)
		require.Equal(t, id, r.Provider)
	}
	f.status = 403
	m := x.Provide(t.Context(), probe.Content())
	require.Contains(t, m.Err, "403")
	require.Len(t, m.Steps, 1)
	res, err := http.Get(publisher.URL + ipniPath + "nothing")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 404, res.StatusCode)
	u.Host = "127.0.0.1:1"
	require.NotEmpty(t, x.Retrieve(t.Context(), m.CID).Err)
}
