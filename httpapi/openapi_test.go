package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// contract is docs/openapi.yaml, and which parts of it a test has seen.
type contract struct {
	doc  map[string]any
	seen map[string]bool // "GET /path 200"
}

func readContract(t *testing.T) *contract {
	b, err := os.ReadFile(filepath.Join("..", "docs", "openapi.yaml"))
	require.NoError(t, err)
	c := &contract{seen: map[string]bool{}}
	require.NoError(t, yaml.Unmarshal(b, &c.doc))
	return c
}

// at walks into maps by keys, and through references.
func (c *contract) at(v any, keys ...string) any {
	for i := 0; ; i++ {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		if ref, ok := m["$ref"].(string); ok {
			return c.at(c.at(c.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), keys[i:]...)
		}
		if i == len(keys) {
			return v
		}
		if v, ok = m[keys[i]]; !ok {
			return nil
		}
		if i == len(keys)-1 {
			if _, ok := v.(map[string]any); !ok {
				return v
			}
		}
	}
}

// declared lists "METHOD /path status" of everything in the contract.
func (c *contract) declared() (out []string) {
	for path, item := range c.doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			for status := range op.(map[string]any)["responses"].(map[string]any) {
				out = append(out, strings.ToUpper(method)+" "+path+" "+status)
			}
		}
	}
	slices.Sort(out)
	return out
}

// check holds an answer of the server to the contract.
func (c *contract) check(t *testing.T, method, path string, a answered) {
	t.Helper()
	key := fmt.Sprintf("%s %s %d", method, path, a.status)
	kind, _, _ := strings.Cut(a.kind, ";")
	media := c.at(c.doc, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(a.status), "content", kind, "schema")
	require.NotNil(t, media, "%s as %s is not in the contract: %s", key, kind, a.body)
	var v any = a.body
	if kind == "application/json" {
		require.NoError(t, json.Unmarshal([]byte(a.body), &v))
	}
	require.NoError(t, c.valid(media, v, "body"), "%s: %s", key, a.body)
	if m, ok := v.(map[string]any); ok {
		require.EqualValues(t, a.status, m["status"])
	}
	c.seen[key] = true
}

// valid holds a value to a schema, by the few words that the contract uses;
// another word is an error, so that none is passed over.
func (c *contract) valid(schema, v any, where string) error {
	s, ok := c.at(schema).(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no schema", where)
	}
	if v == nil {
		if s["nullable"] == true {
			return nil
		}
		return fmt.Errorf("%s is null", where)
	}
	number := func(key string) (float64, bool) {
		n, ok := s[key].(int)
		return float64(n), ok
	}
	for word, rule := range s {
		switch word {
		case "nullable", "description", "default", "minimum", "maximum":
		case "type":
			good := map[string]bool{}
			switch v := v.(type) {
			case string:
				good["string"] = true
			case bool:
				good["boolean"] = true
			case float64:
				good["number"], good["integer"] = true, v == float64(int64(v))
				if least, ok := number("minimum"); ok && v < least {
					return fmt.Errorf("%s is %v, less than %v", where, v, least)
				}
				if most, ok := number("maximum"); ok && v > most {
					return fmt.Errorf("%s is %v, more than %v", where, v, most)
				}
			case []any:
				good["array"] = true
			case map[string]any:
				good["object"] = true
			}
			if !good[rule.(string)] {
				return fmt.Errorf("%s is %v, want %v", where, v, rule)
			}
		case "enum":
			if !slices.ContainsFunc(rule.([]any), func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
				return fmt.Errorf("%s is %q, want one of %q", where, v, rule)
			}
		case "minLength":
			if len(v.(string)) < rule.(int) {
				return fmt.Errorf("%s is too short", where)
			}
		case "format":
			if _, err := time.Parse(time.RFC3339Nano, v.(string)); rule != "date-time" || err != nil {
				return fmt.Errorf("%s is %v, want %v", where, v, rule)
			}
		case "items":
			for i, item := range v.([]any) {
				if err := c.valid(rule, item, fmt.Sprintf("%s[%d]", where, i)); err != nil {
					return err
				}
			}
		case "required":
			for _, key := range rule.([]any) {
				if _, ok := v.(map[string]any)[key.(string)]; !ok {
					return fmt.Errorf("%s has no %s", where, key)
				}
			}
		case "properties":
			for key, p := range v.(map[string]any) {
				prop, ok := rule.(map[string]any)[key]
				if !ok {
					if s["additionalProperties"] == false {
						return fmt.Errorf("%s.%s is not in the contract", where, key)
					}
					continue
				}
				if err := c.valid(prop, p, where+"."+key); err != nil {
					return err
				}
			}
		case "additionalProperties":
		default:
			return fmt.Errorf("%s: the test does not know the word %q", where, word)
		}
	}
	return nil
}

// TestContractRejects: the checker must be able to fail.
func TestContractRejects(t *testing.T) {
	c := readContract(t)
	f := func(schema, body, want string) {
		t.Helper()
		var v any
		require.NoError(t, json.Unmarshal([]byte(body), &v))
		err := c.valid(map[string]any{"$ref": "#/components/schemas/" + schema}, v, "body")
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
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

// TestRoutesAreInTheContract, and nothing else is.
func TestRoutesAreInTheContract(t *testing.T) {
	c := readContract(t)
	s, err := New(config(), Deps{})
	require.NoError(t, err)
	defer s.Close()
	have := map[string]bool{}
	s.routes(func(method, route string, _ httprouter.Handle) {
		have[method+" "+parameter.ReplaceAllString(route, "{$1}")] = true
	})
	want := map[string]bool{}
	for _, d := range c.declared() {
		want[d[:strings.LastIndexByte(d, ' ')]] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(have)))
}

// TestContract asks for everything that the contract declares and holds each
// answer to its schema.
func TestContract(t *testing.T) {
	c := readContract(t)
	on, off := start(t, tokenConfig(t), fullDeps()), start(t, config(), Deps{})
	ask := func(s *running, method, path, concrete, body string, token string, status int) {
		t.Helper()
		if concrete == "" {
			concrete = path
		}
		a := s.ask(t, method, concrete, body, token)
		require.Equal(t, status, a.status, "%s %s: %s", method, concrete, a.body)
		c.check(t, method, path, a)
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
	get(on, base+"/top", "?kind=cids", 200)
	get(on, base+"/top", "?kind=peers&n=1000", 200)
	get(on, base+"/top", "?kind=blocks", 400)
	get(off, base+"/top", "?kind=cids", 503)

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
	for _, d := range c.declared() {
		require.True(t, c.seen[d], "nothing asks for %s", d)
	}
}
