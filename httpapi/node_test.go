package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestBadOrders covers bodies, a part of the row "HTTP API".
func TestBadOrders(t *testing.T) {
	d := fullDeps()
	b := d.Broadcaster.(*told)
	s := start(t, tokenConfig(t), d)
	f := func(path, body string, status int, want string) {
		t.Helper()
		a := s.ask(t, "POST", base+path, body, goodToken)
		require.Equal(t, status, a.status, "%.100q: %s", body, a.body)
		require.Contains(t, a.body, want)
		require.Less(t, len(a.body), 1000)
	}
	const want, timed = "/broadcast_want", "/broadcast_want_cancel"
	for _, body := range []string{"", "null", "[]", "{", "\x00", "\x1f\x8b\x08\x00", `{"cids":5}`, `{"cids":["bafk"]}`, `{"cids":[{"/":"bafk"}]}`,
		`{"cids":[{"/":5}]}`, `{"cids":[{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}]}{}`, oneCID + "x",
		`{"cids":[{}]}`, `{"cids":NaN}`, strings.Repeat("[", 100_000), `{"cids":[{"/":"` + strings.Repeat("b", 1000) + `"}]}`} {
		f(want, body, 400, `"error":"`)
	}
	f(want, `{"cids":[]}`, 400, "cids has 0 entries: want 1 to 1024")
	f(want, `{}`, 400, "cids has 0 entries")
	f(want, `{"cids":[null]}`, 400, "cids[0]")
	many := func(n int) string {
		cids := make([]cid.Cid, n)
		for i := range cids {
			h, err := multihash.Sum(fmt.Append(nil, i), multihash.IDENTITY, -1)
			require.NoError(t, err)
			cids[i] = cid.NewCidV1(cid.Raw, h)
		}
		out, err := json.Marshal(map[string]any{"cids": cids})
		require.NoError(t, err)
		return string(out)
	}
	f(want, many(maxBroadcast+1), 400, "cids has 1025 entries")
	f(want, `{"cids":[`+strings.Repeat(`{"/":"bafkqaaa"},`, 1_000_000), 413, "1048576 bytes")
	long := func(n int) string {
		h, err := multihash.Sum(make([]byte, n-5), multihash.IDENTITY, -1)
		require.NoError(t, err)
		c := cid.NewCidV1(cid.Raw, h)
		require.Equal(t, n, c.ByteLen())
		out, err := json.Marshal(map[string]any{"cids": []cid.Cid{c}})
		require.NoError(t, err)
		return string(out)
	}
	f(want, long(event.MaxCIDBytes+1), 400, "at most 168 bytes")

	seconds := func(n string) string { return strings.TrimSuffix(oneCID, "}") + `,"seconds_before_cancel":` + n + "}" }
	for _, n := range []string{"4294967295", "4294967296", "3601", "-1", "1.5", `"1"`, "1e400", "NaN"} {
		f(timed, seconds(n), 400, `"error":"`)
	}
	f(timed, seconds("4294967295"), 400, "from 0 to 3600")
	require.Nil(t, b.cids, "nothing was sent for any of these")

	f(timed, seconds("3600"), 200, "want_status")
	require.Equal(t, time.Hour, b.after)
	f(timed, oneCID, 200, "want_status")
	require.Zero(t, b.after, "without a delay the cancel follows at once, as in the old exporter")
	f(want, many(maxBroadcast), 200, "peers")
	require.Len(t, b.cids, maxBroadcast)
	f(want, long(event.MaxCIDBytes), 200, "peers")
	f(want, `{"cids":[{"/":"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"}],"cids":[{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"},{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}]}`, 200, "peers")
	require.Len(t, b.cids, 1, "the last of two equal keys counts, and each CID once")
	f("/broadcast_cancel", oneCID, 200, "peers")

	require.Equal(t, 405, s.ask(t, "GET", base+want, "", goodToken).status)
	got := s.say(t, request("POST "+base+want, "Host: localhost", "Authorization: Bearer "+goodToken, "Content-Length: 1000000")+oneCID)
	require.Contains(t, got, " 400 ", "a false Content-Length")
	got = s.say(t, request("POST "+base+want, "Host: localhost", "Authorization: Bearer "+goodToken, "Transfer-Encoding: chunked")+"7fffffff\r\n"+strings.Repeat(" ", 2<<20))
	require.NotContains(t, got, " 200 ", "chunks without end")
	got = s.say(t, request("POST "+base+want, "Host: evil.example", "Authorization: Bearer "+goodToken))
	require.Contains(t, got, " 403 ")
	got = s.say(t, request("POST "+base+want, "Host: localhost", "Origin: null", "Authorization: Bearer "+goodToken))
	require.Contains(t, got, " 403 ")
}

func TestBadQueries(t *testing.T) {
	s := start(t, config(), fullDeps())
	f := func(path string, status int) {
		t.Helper()
		got := s.say(t, request("GET "+base+path, "Host: localhost"))
		require.True(t, strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", status)), "%s: %s", path, got)
	}
	f("/top", 400)
	f("/top?kind=", 400)
	f("/top?kind=CIDS", 400)
	f("/top?kind=cids&kind=peers", 200) // the first
	f("/top?kind=cids&n=1", 200)
	f("/top?kind=cids&n=0", 400)
	f("/top?kind=cids&n=-1", 400)
	f("/top?kind=cids&n=1001", 400)
	f("/top?kind=cids&n=1e3", 400)
	f("/top?kind=cids&n=", 400)
	f("/top?kind=cids&n=99999999999999999999", 400)
	f("/top?kind=cids%zz", 400)
	f("/top?kind=cids;n=1", 400)
	f("/sample_peer_metadata?only_connected=1", 400)
	f("/sample_peer_metadata?only_connected=%00", 400)
	f("/sample_peer_metadata?only_connected=True", 200)
	f("/subscribers/", 301)
	f("/subscribers/../../../etc/passwd", 404)
	f("/subscribers/%2e%2e", 301) // to base
}

// TestLongBroadcast: the deadlines of other requests do not end it; the end of its caller
// or of the server does.
func TestLongBroadcast(t *testing.T) {
	d := fullDeps()
	b := d.Broadcaster.(*told)
	s, err := New(tokenConfig(t), d)
	require.NoError(t, err)
	s.http.ReadTimeout, s.http.WriteTimeout, s.http.ReadHeaderTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	require.NoError(t, s.Listen())
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	r := &running{Server: s, addr: s.Addrs()[0].String()}

	var ended error
	b.block = func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
		ended = ctx.Err()
	}
	require.Equal(t, 200, r.ask(t, "POST", base+"/broadcast_want", oneCID, goodToken).status)
	require.NoError(t, ended)

	entered, left := make(chan struct{}), make(chan struct{})
	b.block = func(ctx context.Context) { entered <- struct{}{}; <-ctx.Done(); left <- struct{}{} }
	ctx, cancel := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, "POST", "http://"+r.addr+base+"/broadcast_want", strings.NewReader(oneCID))
	require.NoError(t, err)
	q.Header.Set("Authorization", "Bearer "+goodToken)
	gone := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(q)
		gone <- err
	}()
	<-entered
	cancel()
	require.Error(t, <-gone)
	<-left

	go func() {
		gone <- nil
		_, _ = askWith(http.DefaultClient, "POST", q.URL.String(), oneCID, goodToken)
		gone <- nil
	}()
	<-gone
	<-entered
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-left // Close ends the broadcast and does not wait for its deadline
	require.NoError(t, <-closed)
	require.NoError(t, <-done)
	<-gone
	http.DefaultClient.CloseIdleConnections()
}

// TestManyPeers: the answer is written while the list is read, and breaks off on an
// error.
func TestManyPeers(t *testing.T) {
	d := fullDeps()
	_, seq := d.Peers(true)
	var one PeerMetadata
	for p := range seq {
		one = p
	}
	const n = 20_000
	fault := false
	d.Peers = func(bool) (int, iter.Seq[PeerMetadata]) {
		return n, func(yield func(PeerMetadata) bool) {
			for i := range n {
				if fault && i == n/2 {
					panic("here")
				}
				if !yield(one) {
					return
				}
			}
		}
	}
	s := start(t, config(), d)
	a := s.ask(t, "GET", base+"/sample_peer_metadata", "", "")
	var got struct {
		Status int
		Result struct {
			NumConnections int            `json:"num_connections"`
			PeerMetadata   []PeerMetadata `json:"peer_metadata"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &got))
	require.Len(t, got.Result.PeerMetadata, n)
	require.Equal(t, one, got.Result.PeerMetadata[n-1])
	require.Equal(t, n, got.Result.NumConnections)

	fault = true
	_, err := askWith(http.DefaultClient, "GET", "http://"+s.addr+base+"/sample_peer_metadata", "", "")
	require.Error(t, err, "half an answer must not look like a whole one")
	require.EqualValues(t, 1, s.Stats().Panics)
}
