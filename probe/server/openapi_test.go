package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/ipfsmon/ipfsmon/probe"
)

const (
	wait = 60 * time.Second
	tick = 5 * time.Millisecond
)

// contract is docs/probe-openapi.yaml, and which parts of it a test has seen.
type contract struct {
	doc  map[string]any
	seen map[string]bool // "GET /path 200"
}

func readContract(t *testing.T) *contract {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "probe-openapi.yaml"))
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
	if a.status == 200 && a.body == "" {
		require.Nil(t, c.at(c.doc, "paths", path, strings.ToLower(method), "responses", "200", "content"), "%s has no body", key)
		c.seen[key] = true
		return
	}
	kind, _, _ := strings.Cut(a.kind, ";")
	media := c.at(c.doc, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(a.status), "content", kind, "schema")
	require.NotNil(t, media, "%s as %s is not in the contract: %s", key, kind, a.body)
	var v any = a.body
	if kind == "application/json" {
		require.NoError(t, json.Unmarshal([]byte(a.body), &v))
	}
	require.NoError(t, c.valid(media, v, "body"), "%s: %s", key, a.body)
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
	f("Answer", `{"CID":"x","RoutingTableSize":1,"Duration":5,"Error":""}`, "")
	f("Answer", `{"CID":"x","RoutingTableSize":1,"Measurements":[{"Step":"what","Duration":5,"Error":""}]}`, "one of")
	f("Answer", `{"CID":"x"}`, "has no RoutingTableSize")
	f("Answer", `{"CID":"x","RoutingTableSize":-1}`, "less than")
	f("Answer", `{"CID":"x","RoutingTableSize":1,"Other":1}`, "not in the contract")
	f("Refusal", `{"Error":""}`, "too short")
}

// TestContract asks for everything that the contract declares and holds each
// answer to its schema.
func TestContract(t *testing.T) {
	c := readContract(t)
	s := start(t, nil)
	ask := func(path, concrete, body string, status int, header ...string) {
		t.Helper()
		a := s.ask("POST", concrete, body, header...)
		require.Equal(t, status, a.status, "%s: %s", concrete, a.body)
		c.check(t, "POST", path, a)
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
	c.check(t, "GET", "/readiness", s.ask("GET", "/readiness", ""))
	s = start(t, func(c *Config) { c.Token = "a-token-that-is-long" })
	s.token = "no"
	all(hello, 401, "")
	c.check(t, "GET", "/readiness", s.ask("GET", "/readiness", ""))
	for _, d := range c.declared() {
		require.True(t, c.seen[d], "nothing asks for %s", d)
	}
}
