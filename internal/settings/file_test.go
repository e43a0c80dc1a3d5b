package settings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/settings"
)

func read(t testing.TB, text string) (*settings.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return settings.ReadFile(path)
}

// TestReadFile: the lines of keys are known, also of those in lists, and what is no object, is
// there twice or comes after the object is an error with its line.
func TestReadFile(t *testing.T) {
	f, err := read(t, "{\"a\": 1,\n \"B\": {\"c\": [\n  {\"d\": true},\n  {\"d\": null}]},\n \"e.f\": \"x\"}")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"a": json.Number("1"), "B": map[string]any{"c": []any{map[string]any{"d": true}, map[string]any{"d": nil}}}, "e.f": "x"}, f.Object)
	for text, want := range map[string]int{"a: want": 1, "b.C.1.d: want": 4, "B: c.0: d: x": 3, "B.c.0.x: unknown": 3, "B": 2, "e.f is": 5, "ax: want": 0, "": 0, "z": 0} {
		line, _ := f.Line(text)
		require.Equal(t, want, line, text)
	}
	err = f.Located(errors.Join(errors.New("IPFSMON_X: no key"), fmt.Errorf("B.c: %w", errors.New("bad")), errors.Join(errors.New("a: first"))))
	require.EqualError(t, err, f.Path+":1: a: first\n"+f.Path+":2: B.c: bad\nIPFSMON_X: no key")
	require.NoError(t, f.Located(nil))

	for text, want := range map[string]string{
		"":                                 ":1: the file ends early: want one JSON object",
		"{\n\"a\": [1,\n":                  ":3: the file ends early: want one JSON object",
		"\n[]":                             ":1: want an object with settings, got array",
		"{}\n{}":                           ":2: text after the object: want one JSON object",
		"{\"a\":1,\n\"A\":2}":              ":2: A is there twice: want each key once",
		"{\"x\":{\"a\":1,\"a\":2}}":        ":1: x.a is there twice: want each key once",
		`{"a":` + strings.Repeat("[", 200): ":1: more than 100 levels",
		"{\n'a': 1}":                       ":2: invalid character '\\''",
	} {
		_, err := read(t, text)
		require.ErrorContains(t, err, want, text)
	}
	_, err = settings.ReadFile("/nowhere/at/all")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzReadFile: what is read is what encoding/json reads, and every key has a line that is in
// the file.
func FuzzReadFile(f *testing.F) {
	f.Add(`{"a": {"b": [1, {"c": "x"}]}}`)
	f.Add("{\"a\": 1, \"a\": 2}")
	f.Add("[1]\n{")
	f.Add(`{"": 0}`)
	f.Fuzz(func(t *testing.T, text string) {
		file, err := read(t, text)
		if err != nil {
			return
		}
		var want map[string]any
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&want))
		require.Equal(t, want, file.Object)
		for key := range want {
			lower, back := strings.ToLower(key), strings.ToLower(strings.ToUpper(key))
			if key == "" || strings.ContainsAny(key, ". :") || lower != back { // no error begins with it
				continue
			}
			line, _ := file.Line(key)
			require.LessOrEqual(t, line, 1+strings.Count(text, "\n"))
			require.Positive(t, line, key)
		}
	})
}
