package privacy

import (
	"bytes"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptest "github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a machine's clock that a test can set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func testKey(t testing.TB, c *clock) *Key {
	t.Helper()
	k, err := openKey(filepath.Join(t.TempDir(), "data", KeyFile), nil, c.now)
	require.NoError(t, err)
	return k
}

func filter(t testing.TB, mode Mode, k *Key) *Filter {
	t.Helper()
	f, err := New(mode, k, nil)
	require.NoError(t, err)
	return f
}

// filler puts a distinct value into every field of an event, including fields that were
// added after this test was written, and records what must stay secret.
type filler struct {
	t       testing.TB
	n       int
	secrets map[string]string // bytes that must not appear in the output, and what they are
	addrs   []event.Text
}

func (f *filler) secret(what, s string) { f.secrets[s] = what }

func (f *filler) peer() peer.ID {
	p := libp2ptest.RandPeerIDFatal(f.t)
	f.secret("peer ID", string(p))
	f.secret("peer ID's text", p.String())
	f.secret("peer ID's digest", string(p)[len(p)-32:])
	return p
}

func (f *filler) cid() cid.Cid {
	f.n++
	h, err := mh.Sum([]byte(fmt.Sprint("content ", f.n)), []uint64{mh.SHA2_256, mh.IDENTITY, mh.SHA2_512}[f.n%3], -1)
	require.NoError(f.t, err)
	c := cid.NewCidV1([]uint64{cid.Raw, cid.DagProtobuf}[f.n%2], h)
	if f.n%6 == 3 {
		c = cid.NewCidV0(h)
	}
	d, err := mh.Decode(h)
	require.NoError(f.t, err)
	f.secret("CID", c.KeyString())
	f.secret("CID's text", c.String())
	f.secret("CID's digest", string(d.Digest))
	return c
}

func (f *filler) addr() event.Text {
	f.n++
	p := f.peer()
	a := event.Text(fmt.Sprintf("/ip4/77.66.%d.%d/tcp/%d/p2p/%s", f.n%200, 1+f.n%250, 20000+f.n, p))
	f.secret("address", string(a))
	f.secret("IP address", fmt.Sprintf("/77.66.%d.%d/", f.n%200, 1+f.n%250))
	f.secret("port", fmt.Sprint("/tcp/", 20000+f.n))
	f.addrs = append(f.addrs, a)
	return a
}

// text returns what a field of type Text or string may hold, by the field's name.
func (f *filler) text(name string) string {
	switch name {
	case "Addr", "Addrs", "ListenAddrs", "ObservedAddr":
		return string(f.addr())
	case "Block":
		return "ipfs swarm filters add " + string(f.addr())
	case "ID":
		s := f.peer().String()[:10] + fmt.Sprint("-", f.n)
		f.secret("connection's name", s)
		return s
	}
	// All other words are the same for many peers: agents, protocols, names of closed
	// sets.
	return "word of " + name
}

func (f *filler) fill(name string, v reflect.Value) {
	switch v.Interface().(type) {
	case peer.ID:
		v.SetString(string(f.peer()))
		return
	case cid.Cid:
		v.Set(reflect.ValueOf(f.cid()))
		return
	case time.Time:
		v.Set(reflect.ValueOf(noon))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(name, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			f.fill(name, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(name, v.Index(i))
		}
	case reflect.String:
		v.SetString(f.text(name))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(7)
	default:
		f.t.Fatalf("%s: filler has no value for a %s", name, v.Type())
	}
}

// full makes an event with every field set, also those that an event of its kind does not
// have, so that no field passes by mistake.
func full(t testing.TB, kind event.Kind) (*event.Event, *filler) {
	f := &filler{t: t, secrets: map[string]string{}}
	e := new(event.Event)
	f.fill("Event", reflect.ValueOf(e).Elem())
	e.Kind, e.Time = kind, noon.UnixNano()
	return e, f
}

// kinds are all kinds that have a name.
func kinds() (all []event.Kind) {
	for k := event.Kind(1); k.String() != "unknown"; k++ {
		all = append(all, k)
	}
	return all
}

// everyText returns all strings in a value, by reflection, and the value as
// JSON and as Go writes it.
func everyText(t testing.TB, v any) []string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	out := []string{string(b)}
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				out = append(out, fmt.Sprintf("%#v", v.Elem()))
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i)) // unexported fields too: the bytes of a CID
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.String:
			out = append(out, v.String())
		}
	}
	walk(reflect.ValueOf(v))
	return out
}

func TestNothingRawComesOut(t *testing.T) {
	k := testKey(t, &clock{noon})
	for _, mode := range []Mode{Pseudonym, Aggregate} {
		for _, kind := range kinds() {
			t.Run(string(mode)+"/"+kind.String(), func(t *testing.T) {
				e, f := full(t, kind)
				require.Greater(t, len(f.secrets), 50)
				require.Contains(t, strings.Join(everyText(t, e), "\n"), e.Peer.String(), "the search does not find the names in the original event")
				before := fmt.Sprintf("%#v", everyText(t, e))

				flt := filter(t, mode, k)
				out := flt.Apply(e)
				require.Equal(t, before, fmt.Sprintf("%#v", everyText(t, e)), "the event was changed")
				require.Zero(t, flt.Panics())
				sums := slices.Contains([]event.Kind{event.KindSample, event.KindSummary, event.KindClockStep, event.KindProxy,
					event.KindNote, event.KindOrigins, event.KindPipeline, event.KindFleet}, kind)
				require.Equal(t, mode == Pseudonym || sums, out != nil)
				if out == nil {
					return
				}
				require.Equal(t, e.Seq, out.Seq)
				require.Equal(t, e.Time, out.Time)
				require.Equal(t, kind, out.Kind)
				texts := everyText(t, out)
				for secret, what := range f.secrets {
					for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(secret)))} {
						for _, text := range texts {
							if strings.Contains(text, form) {
								t.Fatalf("%s %q is in %q", what, secret, text)
							}
						}
					}
				}
			})
		}
	}
}

func TestUnknownKindIsLeftOut(t *testing.T) {
	e, _ := full(t, 200)
	for _, mode := range []Mode{Pseudonym, Aggregate} {
		require.Nil(t, filter(t, mode, testKey(t, &clock{noon})).Apply(e))
	}
}

// TestPseudonymKeepsTheRest compares everything that is not a name.
func TestPseudonymKeepsTheRest(t *testing.T) {
	f := filter(t, Pseudonym, testKey(t, &clock{noon}))
	for _, kind := range kinds() {
		e, _ := full(t, kind)
		out := f.Apply(e)
		part := map[event.Kind]string{event.KindMessage: "Wants Presences Blocks", event.KindConnection: "Conn", event.KindIdentify: "Identify",
			event.KindSample: "Sample", event.KindLatency: "Latency", event.KindSummary: "Summary", event.KindClockStep: "ClockStep", event.KindProxy: "Proxy", event.KindSendError: "SendError",
			event.KindNote: "Note", event.KindOrigins: "Origins", event.KindPipeline: "Pipeline", event.KindDHT: "DHT",
			event.KindSearch: "Search", event.KindRetrieval: "Retrieval", event.KindRequest: "Request", event.KindFlood: "Flood", event.KindFleet: "Fleet"}[kind]
		require.NotEmpty(t, part, kind)
		for _, name := range append(strings.Fields(part), "Peer", "Addrs", "Country", "Gateway", "Dir", "Full", "Transport", "Took", "PendingBytes", "WireSize", "Truncated", "OversizeCID", "Side", "Downstream", "Monitor") {
			same(t, name, reflect.ValueOf(e).Elem().FieldByName(name), reflect.ValueOf(out).Elem().FieldByName(name))
		}
	}
}

// same compares a field before and after: names differ and are well formed, everything
// else is equal, and nothing is missing.
func same(t *testing.T, name string, a, b reflect.Value) {
	t.Helper()
	switch x := a.Interface().(type) {
	case peer.ID:
		p := b.Interface().(peer.ID)
		require.NotEqual(t, x, p, name)
		require.True(t, strings.HasPrefix(p.String(), "Qm"), name)
		back, err := peer.Decode(p.String())
		require.NoError(t, err, name)
		require.Equal(t, p, back)
		return
	case cid.Cid:
		c := b.Interface().(cid.Cid)
		require.NotEqual(t, x, c, name)
		require.Equal(t, x.Version(), c.Version(), name)
		require.Equal(t, x.Type(), c.Type(), name)
		require.Equal(t, uint64(mh.SHA2_256), c.Prefix().MhType, name)
		back, err := cid.Decode(c.String())
		require.NoError(t, err, name)
		require.Equal(t, c, back)
		return
	case time.Time:
		require.Equal(t, a.Interface(), b.Interface(), name)
		return
	}
	if strings.HasSuffix(name, ".Block") { // names the peer
		require.Zero(t, b.Len(), name)
		return
	}
	switch a.Kind() {
	case reflect.Pointer:
		require.False(t, b.IsNil(), name)
		same(t, name, a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			same(t, name+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	case reflect.Slice, reflect.Array:
		require.Equal(t, a.Len(), b.Len(), name)
		for i := range a.Len() {
			same(t, name, a.Index(i), b.Index(i))
		}
	default:
		if name == "DHT.Name" { // the name of a value may be a peer's
			require.Empty(t, b.String())
			return
		}
		last := name[strings.LastIndexByte(name, '.')+1:]
		switch last {
		case "Addr", "Addrs", "ListenAddrs", "ObservedAddr":
			require.True(t, strings.HasSuffix(b.String(), ".0/tcp/0"), "%s: %s", name, b)
		case "ID":
			require.Len(t, b.String(), 16, name)
		default:
			require.Equal(t, a.Interface(), b.Interface(), name)
		}
	}
}

func TestRawIsTheEventItself(t *testing.T) {
	e, _ := full(t, event.KindMessage)
	require.Same(t, e, filter(t, Raw, nil).Apply(e))
}

func TestAggregateKeepsSums(t *testing.T) {
	f := filter(t, Aggregate, nil)
	e, _ := full(t, event.KindSummary)
	s := *e.Summary
	s.TopCIDs, s.TopCIDsByPeers, s.TopPeers, s.TopMissing = nil, nil, nil, nil
	for dir := range s.Line {
		s.Line[dir].CIDs, s.Line[dir].Peers = nil, nil
	}
	d := *s.DHT
	s.DHT, d.TopKeys = &d, [event.Directions][]event.TopDHTKey{}
	out := f.Apply(e)
	require.Equal(t, &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Summary: &s}, out)
	require.Len(t, e.Summary.TopPeers, 3)
	require.Len(t, e.Summary.Line[event.Sent].Peers, 3)
	e, _ = full(t, event.KindSample)
	require.Equal(t, &event.Event{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Sample: e.Sample}, f.Apply(e))
}

func message(at time.Time, p peer.ID, c cid.Cid) *event.Event {
	return &event.Event{Kind: event.KindMessage, Time: at.UnixNano(), Peer: p, Wants: []event.Want{{CID: c}}}
}

func TestPseudonymsOfADay(t *testing.T) {
	c := &clock{noon}
	k := testKey(t, c)
	p, q := libp2ptest.RandPeerIDFatal(t), libp2ptest.RandPeerIDFatal(t)
	h, err := mh.Sum([]byte("x"), mh.SHA2_256, -1)
	require.NoError(t, err)
	v0, v1, raw := cid.NewCidV0(h), cid.NewCidV1(cid.DagProtobuf, h), cid.NewCidV1(cid.Raw, h)
	stream, influx := filter(t, Pseudonym, k), filter(t, Pseudonym, k)

	first := stream.Apply(message(noon, p, v0))
	again := stream.Apply(message(noon, p, v0))
	other := influx.Apply(message(noon.Add(time.Hour), p, v0))
	require.Equal(t, first, again)
	require.Equal(t, first.Peer, other.Peer)
	require.Equal(t, first.Wants, other.Wants)
	require.NotEqual(t, first.Peer, stream.Apply(message(noon, q, v0)).Peer)
	require.Equal(t, first.Wants[0].CID.Hash(), stream.Apply(message(noon, p, v1)).Wants[0].CID.Hash(), "one block has two pseudonyms")
	require.NotEqual(t, first.Wants[0].CID.Hash(), stream.Apply(message(noon, p, raw)).Wants[0].CID.Hash())
	// The pseudonym of a CID that holds a peer ID differs from the peer's.
	require.NotEqual(t, string(first.Peer), string(stream.Apply(message(noon, p, peer.ToCid(p))).Wants[0].CID.Hash()))
	// Another installation makes other pseudonyms.
	require.NotEqual(t, first.Peer, filter(t, Pseudonym, testKey(t, c)).Apply(message(noon, p, v0)).Peer)

	c.at = noon.Add(12*time.Hour + time.Minute) // the next day
	next := stream.Apply(message(c.at, p, v0))
	require.NotEqual(t, first.Peer, next.Peer)
	require.NotEqual(t, first.Wants, next.Wants)
	require.Equal(t, next.Peer, influx.Apply(message(c.at, p, v0)).Peer)
	// Events from before midnight that are read later keep their pseudonyms for a while.
	require.Equal(t, first.Peer, influx.Apply(message(noon, p, v0)).Peer)
	c.at = c.at.Add(allowance)
	require.Equal(t, next.Peer, influx.Apply(message(noon, p, v0)).Peer, "yesterday's key was dropped")
	require.Equal(t, dayKey{}, k.before)
}

func TestPanicCostsTheEvent(t *testing.T) {
	log, lines := guardtest.New()
	f, err := New(Pseudonym, testKey(t, &clock{noon}), log)
	require.NoError(t, err)
	bad := &event.Event{Kind: event.KindConnection, Time: noon.UnixNano()} // without Conn
	for range 3 {
		require.Nil(t, f.Apply(bad))
	}
	require.EqualValues(t, 3, f.Panics())
	lines.Once(t, "privacy: filter an event", "privacy.(*Filter).Apply")
	e, _ := full(t, event.KindConnection)
	require.NotNil(t, f.Apply(e))
}

func TestNew(t *testing.T) {
	_, err := New("secret", nil, nil)
	require.EqualError(t, err, `privacy: mode "secret": want one of raw, pseudonym, aggregate`)
	_, err = New(Pseudonym, nil, nil)
	require.ErrorContains(t, err, "without a key: want one")
}

func TestCutAddr(t *testing.T) {
	const id = "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"
	for in, want := range map[string]string{
		"/ip4/1.2.3.4/tcp/4001":                                    "/ip4/1.2.3.0/tcp/0",
		"/ip4/1.2.3.4/tcp/4001/p2p/" + id:                          "/ip4/1.2.3.0/tcp/0",
		"/ip4/1.2.3.4/udp/4001/quic-v1":                            "/ip4/1.2.3.0/udp/0/quic-v1",
		"/ip4/1.2.3.4":                                             "/ip4/1.2.3.0",
		"/ip6/2a02:1:2:3::4/udp/4001/quic-v1/webtransport":         "/ip6/2a02:1:2::/udp/0/quic-v1/webtransport",
		"/ip6/2a02:1:2:3:4:5:6:7/tcp/1/tls/sni/me.example.com/ws":  "/ip6/2a02:1:2::/tcp/0/tls/ws",
		"/ip6zone/eth0/ip6/fe80::1:2/tcp/4001":                     "/ip6/fe80::/tcp/0",
		"/ip6/fe80::1%eth0/tcp/4001":                               "/ip6/fe80::/tcp/0",
		"/ip6/2002:102:304:5::6/tcp/1":                             "/ip6/2002:102:300::/tcp/0",
		"/ip6/::ffff:1.2.3.4/tcp/1":                                "/ip6/::/tcp/0",
		"/ip4/1.2.3.4/tcp/1/p2p/" + id + "/p2p-circuit/p2p/" + id:  "/ip4/1.2.3.0/tcp/0/p2p-circuit",
		"/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/uEiDDq4_xNyDor": "/ip4/1.2.3.0/udp/0/webrtc-direct",
		"/ip4/1.2.3.4/tcp/1/somebody/else":                         "/ip4/1.2.3.0/tcp/0",
		"/ip4/1.2.3.4/tcp":                                         "/ip4/1.2.3.0/tcp/0",
		"/ip4/1.2.3.4/udp/1/quic-v1/p2p/12D3Koo…":                  "/ip4/1.2.3.0/udp/0/quic-v1",
		"/dns4/me.example.com/tcp/443/wss":                         "",
		"/dnsaddr/me.example.com":                                  "",
		"/unix/home/me/sock":                                       "",
		"/p2p/" + id + "/p2p-circuit":                              "",
		"/ip4/1.2.3/tcp/1":                                         "",
		"/ip4/::1/tcp/1":                                           "",
		"/ip6/1.2.3.4/tcp/1":                                       "",
		"/ip4/":                                                    "",
		"/ip4":                                                     "",
		"ip4/1.2.3.4":                                              "",
		"/":                                                        "",
		"":                                                         "",
	} {
		got := cutAddr(event.Text(in))
		require.Equal(t, want, string(got), in)
		if got != "" {
			a, err := ma.NewMultiaddr(string(got))
			require.NoError(t, err, "%s is not an address", got)
			require.Equal(t, string(got), a.String())
			require.Equal(t, got, cutAddr(got), "not stable")
		}
	}
}

func FuzzCutAddr(f *testing.F) {
	for _, s := range []string{"/ip4/1.2.3.4/tcp/4001", "/ip6/2a02::1/udp/1/quic-v1", "/ip4/1.2.3.4/tcp/1/p2p-circuit", "/ip6zone/x/ip6/fe80::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(cutAddr(event.Clean(s, event.MaxAddrText)))
		if got == "" {
			return
		}
		a, err := ma.NewMultiaddr(got)
		if err != nil {
			// The order of parts may differ only in what multiaddr rejects anyway.
			if _, err := ma.NewMultiaddr(s); err == nil {
				t.Fatalf("%q -> %q: %v", s, got, err)
			}
			return
		}
		if last := a[0].RawValue(); len(last) == 4 && last[3] != 0 || len(last) == 16 && !bytes.Equal(last[6:], make([]byte, 10)) {
			t.Fatalf("%q -> %q", s, got)
		}
	})
}

func TestKnownNamesAreBounded(t *testing.T) {
	f := filter(t, Pseudonym, testKey(t, &clock{noon}))
	for i := range remembered + 100 {
		f.Apply(&event.Event{Kind: event.KindMessage, Time: noon.UnixNano(), Peer: peer.ID(fmt.Sprint(i)),
			Addrs: []event.Text{event.Text(fmt.Sprintf("/ip4/1.2.3.4/tcp/%d", i))}})
	}
	require.Equal(t, remembered, f.names.peers.Len())
	require.Equal(t, remembered, f.names.addresses.Len())
}

// TestAllocations: an event that a sink receives costs memory, one that it does not
// receive costs none.
func TestAllocations(t *testing.T) {
	e := &event.Event{Kind: event.KindMessage, Time: noon.UnixNano(), Peer: libp2ptest.RandPeerIDFatal(t),
		Addrs: []event.Text{"/ip4/1.2.3.4/tcp/4001"}, Wants: []event.Want{{CID: cid.NewCidV1(cid.Raw, mh.Multihash("\x12\x20"+strings.Repeat("x", 32)))}}}
	for mode, want := range map[Mode]float64{Raw: 0, Aggregate: 0, Pseudonym: 4} {
		f := filter(t, mode, testKey(t, &clock{noon}))
		if got := testing.AllocsPerRun(1000, func() { f.Apply(e) }); got > want {
			t.Errorf("%s: %v allocations, want at most %v", mode, got, want)
		}
	}
}

// BenchmarkApply measures what an event costs each sink. known: peers and CIDs seen
// before; new: never seen, which is the maximum.
func BenchmarkApply(b *testing.B) {
	p := libp2ptest.RandPeerIDFatal(b)
	addrs := []event.Text{"/ip4/1.2.3.4/tcp/4001", "/ip6/2a02::1/udp/4001/quic-v1"}
	wants := func(n, from int) (out []event.Want) {
		for i := range n {
			h, _ := mh.Sum(fmt.Appendf(nil, "%d", from+i), mh.SHA2_256, -1)
			out = append(out, event.Want{CID: cid.NewCidV1(cid.Raw, h)})
		}
		return out
	}
	for _, mode := range modes {
		for _, n := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/known/%d", mode, n), func(b *testing.B) {
				f := filter(b, mode, testKey(b, &clock{noon}))
				e := &event.Event{Kind: event.KindMessage, Time: noon.UnixNano(), Peer: p, Addrs: addrs, Wants: wants(n, 0)}
				b.ReportAllocs()
				for b.Loop() {
					f.Apply(e)
				}
			})
		}
	}
	b.Run("pseudonym/new/16", func(b *testing.B) {
		f := filter(b, Pseudonym, testKey(b, &clock{noon}))
		var events []*event.Event
		for i := range 4 * remembered / 16 {
			events = append(events, &event.Event{Kind: event.KindMessage, Time: noon.UnixNano(), Peer: p, Addrs: addrs, Wants: wants(16, 16*i)})
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f.Apply(events[i%len(events)])
		}
	})
}
