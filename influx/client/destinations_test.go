package client

import (
	"fmt"
	"strings"
	"testing"
)

func TestDestinationsConfig(t *testing.T) {
	f := func(want string, main string, also ...Destination) {
		t.Helper()
		err := Config{URL: main, Also: also}.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", also, err, want)
		}
	}
	good := Destination{Name: "a", URL: "http://a"}
	f("", "", good, Destination{Name: "b-2", URL: "https://b", Org: "o", Token: "t"})
	f("Also.0.Name", "", Destination{URL: "http://a"})
	f("Also.0.Name", "", Destination{Name: "../x", URL: "http://a"})
	f("Also.0.Name", "", Destination{Name: MainDestination, URL: "http://a"})
	f("Also.1.Name", "", good, good)
	f("Also.a.URL: missing", "", Destination{Name: "a"})
	f("Also.a.URL", "", Destination{Name: "a", URL: "file:///x"})
	f("Also.a.Org: missing", "", Destination{Name: "a", URL: "http://a", Token: "t"})
	f("cannot be combined", "stdout:", good)
	f("at most 7", "", good, good, good, good, good, good, good, good)

	main := Config{URL: "http://m", Token: "secret", Org: "o", Timeout: "3s", SpoolDir: "/s", SpoolMaxBytes: 1 << 20, BatchSize: 7,
		Also: Destinations{{Name: "a", URL: "http://a", Database: "d", SpoolMaxBytes: 2 << 20, Password: "secret"}}}
	got, err := main.Destination("a")
	want := Config{URL: "http://a", Database: "d", Password: "secret", Timeout: "3s", SpoolDir: "/s/to-a", SpoolMaxBytes: 2 << 20, BatchSize: 7}
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); err != nil || a != b {
		t.Errorf("%v, got %s, want %s", err, a, b)
	}
	if got, err := main.Destination("main"); err != nil || got.Also != nil || got.URL != "http://m" {
		t.Errorf("%v, %+v", err, got)
	}
	if _, err := main.Destination("c"); err == nil || !strings.Contains(err.Error(), `["main" "a"]`) {
		t.Error(err)
	}

	var d Destinations
	if err := d.Decode(`[{"Name":"a","URL":"http://a","Token":"secret"}]`); err != nil || len(d) != 1 || d[0].Token != "secret" {
		t.Errorf("%v, %+v", err, d)
	}
	for _, text := range []string{`{"Name":"a"}`, `[{"Nam":"secret"}]`, `secret`} {
		if err := d.Decode(text); err == nil || !strings.Contains(err.Error(), "want a JSON list") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
