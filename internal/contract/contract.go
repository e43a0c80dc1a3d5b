// Package contract compares the answers of an HTTP API with its OpenAPI document,
// in tests.
//
// In: a document and answers. Out: a failed test where they differ. Promised: a
// keyword of the document that this package does not know is an error, and so is
// a declared answer that no test checked (Complete).
package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// Contract is an OpenAPI document, and which of its answers were checked.
type Contract struct {
	doc  map[string]any
	seen map[string]bool // "GET /path 200"
}

// Read reads the document at path.
func Read(t *testing.T, path string) *Contract {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	c := &Contract{seen: map[string]bool{}}
	require.NoError(t, yaml.Unmarshal(b, &c.doc))
	return c
}

// at returns what the keys lead to, from map to map and through references.
func (c *Contract) at(v any, keys ...string) any {
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

// Declared lists "METHOD /path status" of everything in the contract.
func (c *Contract) Declared() (out []string) {
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

// Check compares the content type and the body of an answer with what the
// document declares for path, and returns the decoded body. An answer with status
// 200 and no body must be declared without content.
func (c *Contract) Check(t *testing.T, method, path string, status int, contentType, body string) any {
	t.Helper()
	key := fmt.Sprintf("%s %s %d", method, path, status)
	c.seen[key] = true
	if status == 200 && body == "" {
		require.Nil(t, c.at(c.doc, "paths", path, strings.ToLower(method), "responses", "200", "content"), "%s has no body", key)
		return nil
	}
	kind, _, _ := strings.Cut(contentType, ";")
	media := c.at(c.doc, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(status), "content", kind, "schema")
	require.NotNil(t, media, "%s as %s is not in the contract: %s", key, kind, body)
	var v any = body
	if kind == "application/json" {
		require.NoError(t, json.Unmarshal([]byte(body), &v))
	}
	require.NoError(t, c.valid(media, v, "body"), "%s: %s", key, body)
	return v
}

// Complete fails the test unless every declared answer was checked.
func (c *Contract) Complete(t *testing.T) {
	t.Helper()
	for _, d := range c.Declared() {
		require.True(t, c.seen[d], "nothing asks for %s", d)
	}
}

// Rejects compares a JSON body with a schema of the document, and fails the test
// unless the error contains want; "" wants no error.
func (c *Contract) Rejects(t *testing.T, schema, body, want string) {
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

// valid compares a value with a schema. It knows the few keywords that our
// documents use; any other keyword is an error.
func (c *Contract) valid(schema, v any, where string) error {
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
			return fmt.Errorf("%s: the test does not know the keyword %q", where, word)
		}
	}
	return nil
}
