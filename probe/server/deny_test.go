package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/probe"
)

// denyList makes a list with this text.
func denyList(t *testing.T, text string) *DenyList {
	t.Helper()
	file := filepath.Join(t.TempDir(), "deny")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	d, err := NewDenyList(context.Background(), file, slog.Default())
	require.NoError(t, err)
	return d
}

// hashed makes a rule that hides its CID, as in badbits.
func hashed(c cid.Cid) string {
	return fmt.Sprintf("//%x", sha256.Sum256([]byte(cid.NewCidV1(c.Prefix().Codec, c.Hash()).String()+"/")))
}

// TestDenyList: each way to name a CID matches every version of that CID.
func TestDenyList(t *testing.T) {
	a, b, c, d, e := probe.CIDOf([]byte("a")), probe.CIDOf([]byte("b")), probe.CIDOf([]byte("c")), probe.CIDOf([]byte("d")), probe.CIDOf([]byte("e"))
	l := denyList(t, "version: 1\nname: test\n---\n# a comment\r\n\n"+a.String()+"\r\n"+hashed(b)+"\n/ipfs/"+c.String()+" reason=x\nno rule at all\n//zz\n/ipfs/"+d.String()+"/below\n/ipfs/"+e.String()+"\n!/ipfs/"+e.String())
	for i, x := range []cid.Cid{a, b, c, d, e} {
		require.Equal(t, i < 3, l.denies(x), i)
		require.Equal(t, i < 3, l.denies(cid.NewCidV1(cid.DagProtobuf, x.Hash())), i)
	}
	require.False(t, denyList(t, "").denies(a))
	require.True(t, denyList(t, a.String()).denies(a), "the last line has no line break")

	for text, want := range map[string]string{"\xff\xfe": "UTF-8", "a\x1b[31m\n": "control character at byte 1", "a\x00": "control character", "- not yaml: [\n---\n": "yaml"} {
		_, err := parseDenyList([]byte(text))
		require.ErrorContains(t, err, want)
	}
	_, err := NewDenyList(context.Background(), filepath.Join(t.TempDir(), "none"), slog.Default())
	require.ErrorContains(t, err, "no such file")
}

// TestDenied: no request is sent for denied content, and none of it is provided.
func TestDenied(t *testing.T) {
	x := probe.CIDOf([]byte("x"))
	s := start(t, func(c *Config) {
		c.Deny = []*DenyList{denyList(t, ""), denyList(t, hashed(x)+"\n/ipfs/"+probe.CIDOf([]byte("hello")).String())}
	})
	s.router.known[x] = "somebody"
	for _, name := range []string{x.String(), cid.NewCidV1(cid.DagProtobuf, x.Hash()).String()} {
		a := s.ask("POST", "/retrieve/"+name, "")
		require.Equal(t, 451, a.status)
		require.Contains(t, a.body, name+" is on a deny list")
	}
	require.Equal(t, 451, s.ask("POST", "/provide", hello).status)
	require.Equal(t, 200, s.ask("POST", "/retrieve/"+probe.CIDOf([]byte("y")).String(), "").status)
	require.Equal(t, 200, s.ask("POST", "/provide", `{"Content":"eQ=="}`).status)
}

// TestDenyListURL: the list is read again periodically; a failed read changes nothing.
func TestDenyListURL(t *testing.T) {
	a, b := probe.CIDOf([]byte("a")), probe.CIDOf([]byte("b"))
	var mu sync.Mutex
	status, text, asked := 200, a.String(), 0
	set := func(s int, t string) { mu.Lock(); defer mu.Unlock(); status, text, asked = s, t, 0 }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(context.Background())
	d, err := NewDenyList(ctx, srv.URL, slog.Default())
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { d.run(ctx, 5*time.Millisecond); close(done) }()
	defer func() { cancel(); <-done }()
	require.True(t, d.denies(a) && !d.denies(b))
	for _, bad := range []func(){
		func() { set(500, b.String()) },
		func() { set(200, "\x00") },
		func() { set(200, strings.Repeat("#\n", maxDenyBytes/2)+b.String()) },
	} {
		bad()
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return asked > 1 }, time.Minute, time.Millisecond)
		require.True(t, d.denies(a) && !d.denies(b))
	}
	set(200, b.String())
	require.Eventually(t, func() bool { return d.denies(b) && !d.denies(a) }, time.Minute, time.Millisecond)

	_, err = NewDenyList(ctx, srv.URL+"/loop", slog.Default())
	require.ErrorContains(t, err, "more than 3 redirects")
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// TestAPanicWhileADenyListIsRead keeps the list that was read before.
func TestAPanicWhileADenyListIsRead(t *testing.T) {
	lines := guardtest.Default(t)
	d := denyList(t, "")
	was, before := d.list.Load(), probe.Guard.Panics()
	d.source, d.client = "http://127.0.0.1:1/", &http.Client{Transport: brokenTransport{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.run(ctx, time.Millisecond) }()
	require.Eventually(t, func() bool { return probe.Guard.Panics() >= before+2 }, wait, tick)
	cancel()
	<-done
	require.Same(t, was, d.list.Load())
	lines.Once(t, "probe: read a deny list", "server.brokenTransport.RoundTrip")
}

type brokenTransport struct{}

func (brokenTransport) RoundTrip(*http.Request) (*http.Response, error) { panic("a fault") }
