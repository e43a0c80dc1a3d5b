package server

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/contract"
	"github.com/ipfsmon/ipfsmon/probe"
)

const (
	wait = 60 * time.Second
	tick = 5 * time.Millisecond
)

// TestContractRejects: the checker must be able to fail.
func TestContractRejects(t *testing.T) {
	c := contract.Read(t, filepath.Join("..", "..", "docs", "probe-openapi.yaml"))
	f := func(schema, body, want string) { t.Helper(); c.Rejects(t, schema, body, want) }
	f("Answer", `{"CID":"x","RoutingTableSize":1,"Duration":5,"Error":""}`, "")
	f("Answer", `{"CID":"x","RoutingTableSize":1,"Measurements":[{"Step":"what","Duration":5,"Error":""}]}`, "one of")
	f("Answer", `{"CID":"x"}`, "has no RoutingTableSize")
	f("Answer", `{"CID":"x","RoutingTableSize":-1}`, "less than")
	f("Answer", `{"CID":"x","RoutingTableSize":1,"Other":1}`, "not in the contract")
	f("Refusal", `{"Error":""}`, "too short")
}

// TestContract requests everything that the contract declares and checks each answer
// against its schema.
func TestContract(t *testing.T) {
	c := contract.Read(t, filepath.Join("..", "..", "docs", "probe-openapi.yaml"))
	s := start(t, nil)
	ask := func(path, concrete, body string, status int, header ...string) {
		t.Helper()
		a := s.ask("POST", concrete, body, header...)
		require.Equal(t, status, a.status, "%s: %s", concrete, a.body)
		c.Check(t, "POST", path, a.status, a.kind, a.body)
	}
	ready := func() {
		t.Helper()
		a := s.ask("GET", "/readiness", "")
		c.Check(t, "GET", "/readiness", a.status, a.kind, a.body)
	}
	x := probe.CIDOf([]byte("x"))
	paths := map[string]string{"/provide": "/provide", "/retrieve/{cid}": "/retrieve/" + x.String()}
	all := func(body string, status int, query string, header ...string) {
		t.Helper()
		for path, concrete := range paths {
			ask(path, concrete+query, body, status, header...)
		}
	}
	all(hello, 200, "")
	all(hello, 200, "?generation=2")
	s.router.known[x] = "somebody"
	s.router.err = errors.New("it failed")
	all(hello, 200, "")
	all(hello, 200, "?generation=2")
	all("{", 400, "")
	all(strings.Repeat(" ", maxBody+1), 413, "")
	all(hello, 415, "", "Content-Type", "text/html")
	all(hello, 431, "", SchedulerHeader, strings.Repeat("s", 4097))
	for range maxParallel {
		s.slots <- struct{}{}
	}
	all(hello, 429, "")
	for range maxParallel {
		<-s.slots
	}
	ready()
	s = start(t, func(c *Config) {
		c.Deny = []*DenyList{denyList(t, x.String()+"\n"+probe.CIDOf([]byte("hello")).String())}
	})
	all(hello, 451, "")
	s = start(t, func(c *Config) { c.Token = "a-token-that-is-long" })
	s.token = "no"
	all(hello, 401, "")
	ready()
	c.Complete(t)
}
