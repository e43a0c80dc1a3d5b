package httpapi

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/contract"
)

// TestContractRejects: the checker must be able to fail.
func TestContractRejects(t *testing.T) {
	c := contract.Read(t, filepath.Join("..", "docs", "openapi.yaml"))
	f := func(schema, body, want string) { t.Helper(); c.Rejects(t, schema, body, want) }
	f("Error", `{"status":400,"error":"x"}`, "")
	f("Error", `{"status":400}`, "has no error")
	f("Error", `{"status":200,"error":"x"}`, "less than")
	f("Error", `{"status":400.5,"error":"x"}`, "want integer")
	f("Error", `{"status":400,"error":""}`, "too short")
	f("Error", `{"status":400,"error":"x","result":{}}`, "not in the contract")
	f("Sent", `{"timestamp_before_send":"now","send_duration_millis":1}`, "date-time")
	f("PeerMetadata", `{"peer_id":"p","connectedness":4,"multiaddresses":[],"protocols":[],"agent_version":null,"latency_ewma_ns":null,"connected_multiaddresses":null}`, "one of")
	f("PeerMetadata", `{"peer_id":"p","connectedness":0,"multiaddresses":null,"protocols":[],"agent_version":null,"latency_ewma_ns":null,"connected_multiaddresses":null}`, "is null")
}

var parameter = regexp.MustCompile(`:(\w+)`)

// TestRoutesAreInTheContract: and the contract has no others.
func TestRoutesAreInTheContract(t *testing.T) {
	c := contract.Read(t, filepath.Join("..", "docs", "openapi.yaml"))
	s, err := New(config(), Deps{})
	require.NoError(t, err)
	defer s.Close()
	have := map[string]bool{}
	s.routes(func(method, route string, _ httprouter.Handle) {
		have[method+" "+parameter.ReplaceAllString(route, "{$1}")] = true
	})
	want := map[string]bool{}
	for _, d := range c.Declared() {
		want[d[:strings.LastIndexByte(d, ' ')]] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(have)))
}

// TestContract requests everything that the contract declares and checks each answer
// against its schema.
func TestContract(t *testing.T) {
	c := contract.Read(t, filepath.Join("..", "docs", "openapi.yaml"))
	on, off := start(t, tokenConfig(t), fullDeps()), start(t, config(), Deps{})
	ask := func(s *running, method, path, concrete, body string, token string, status int) {
		t.Helper()
		if concrete == "" {
			concrete = path
		}
		a := s.ask(t, method, concrete, body, token)
		require.Equal(t, status, a.status, "%s %s: %s", method, concrete, a.body)
		if m, ok := c.Check(t, method, path, a.status, a.kind, a.body).(map[string]any); ok {
			require.EqualValues(t, a.status, m["status"])
		}
	}
	get := func(s *running, path, query string, status int) {
		t.Helper()
		ask(s, "GET", path, path+query, "", "", status)
	}
	get(on, "/", "", 200)
	get(on, base, "", 200)
	get(on, "/metrics", "", 200)
	get(off, "/metrics", "", 503)
	for _, p := range []string{"/ping", "/monitoring_addresses", "/health", "/ready", "/version", "/pipeline", "/subscribers"} {
		get(on, base+p, "", 200)
	}
	for _, p := range []string{"/version", "/pipeline", "/subscribers", "/sample_peer_metadata"} {
		get(off, base+p, "", 503)
	}
	for _, p := range []string{"/ping", "/monitoring_addresses", "/health", "/ready"} {
		get(off, base+p, "", 200)
	}
	unready := start(t, config(), Deps{Ready: func() error { return fmt.Errorf("not yet") }})
	get(unready, base+"/ready", "", 503)
	ill := start(t, config(), Deps{Healthy: func() error { return fmt.Errorf("stream has ended") }})
	get(ill, base+"/health", "", 503)
	get(on, base+"/top", "?kind=cids", 200)
	get(on, base+"/top", "?kind=peers&n=1000", 200)
	get(on, base+"/top", "?kind=blocks", 400)
	get(off, base+"/top", "?kind=cids", 503)

	get(on, base+"/floods", "", 200)
	get(off, base+"/floods", "", 503)

	get(on, base+"/fleet", "", 200)
	get(off, base+"/fleet", "", 503)
	get(on, base+"/fleet/history", "", 200)
	get(off, base+"/fleet/history", "", 503)

	get(on, base+"/history", "", 200)
	get(on, base+"/history", "?since=10m&step=1s", 200)
	for _, q := range []string{"?since=1s", "?since=48h", "?since=yesterday", "?since=24h&step=1s", "?step=0s", "?step=-1s", "?since=%zz"} {
		get(on, base+"/history", q, 400)
	}
	get(off, base+"/history", "", 503)

	const sub = base + "/subscribers/{id}"
	ask(on, "DELETE", sub, base+"/subscribers/tcp-[::1]:5", "", goodToken, 200)
	ask(on, "DELETE", sub, base+"/subscribers/nobody", "", goodToken, 404)
	ask(on, "DELETE", sub, base+"/subscribers/nobody", "", "", 401)
	ask(off, "DELETE", sub, base+"/subscribers/nobody", "", goodToken, 403)
	bare := start(t, tokenConfig(t), Deps{})
	ask(bare, "DELETE", sub, base+"/subscribers/nobody", "", goodToken, 503)

	const peers = base + "/sample_peer_metadata"
	for _, q := range []string{"", "?only_connected=true", "?only_connected=FALSE"} {
		get(on, peers, q, 200)
	}
	get(on, peers, "?only_connected=maybe", 400)
	orders := []string{base + "/broadcast_want", base + "/broadcast_cancel", base + "/broadcast_want_cancel"}
	for _, p := range orders {
		ask(on, "POST", p, "", oneCID, goodToken, 200)
		ask(on, "POST", p, "", `{}`, goodToken, 400)
		ask(off, "POST", p, "", oneCID, goodToken, 400)
		ask(on, "POST", p, "", oneCID, "", 401)
		ask(on, "POST", p, "", strings.Repeat(" ", maxBodyBytes+1), goodToken, 413)
		ask(bare, "POST", p, "", oneCID, goodToken, 503)
	}
	for range maxLong {
		on.long <- struct{}{}
	}
	for _, p := range orders {
		ask(on, "POST", p, "", oneCID, goodToken, 429)
	}
	get(on, peers, "", 429)
	for range maxLong {
		<-on.long
	}
	c.Complete(t)
}
