package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// table keeps an answer as text.
type table struct{ text string }

func (o *table) Series(name string, labels []Label, columns []string) error {
	o.text += fmt.Sprint(name, labels, columns, "\n")
	return nil
}
func (o *table) Row(values []any) error { o.text += fmt.Sprintf("%#v\n", values); return nil }
func (o *table) Close() error           { return nil }

// A table of Flux: the columns that number the tables are left out, values have their types, and
// the server's own error is one.
func TestTablesOfFlux(t *testing.T) {
	f := func(want string, records ...[]string) {
		t.Helper()
		var out table
		if err := fluxBlock(records, &out); err != nil {
			out.text = "error " + err.Error()
		}
		if out.text != want {
			t.Errorf("%q: %q, want %q", records, out.text, want)
		}
	}
	types := []string{"#datatype", "string", "long", "double", "boolean", "string", "unsignedLong"}
	names := []string{"", "result", "table", "d", "b", "s", "u"}
	f("[] [d b s u]\n"+`[]interface {}{"1.5", true, "x", "7"}`+"\n"+`[]interface {}{interface {}(nil), "maybe", "", interface {}(nil)}`+"\n",
		types, []string{"#group", "false"}, names, []string{"", "", "0", "1.5", "true", "x", "7"}, []string{"", "", "0", "", "maybe", "", ""})
	f("[] [a]\n"+`[]interface {}{interface {}(nil)}`+"\n", []string{"#datatype", "string"}, []string{"", "a"}, []string{""}) // a short row
	f("[] [a]\n"+`[]interface {}{interface {}(nil)}`+"\n", []string{"", "a"}, []string{"", "v"})                             // no types
	f("[] [a]\n", []string{"#datatype", "string", "long"}, []string{"", "a"})
	f("")
	f("", []string{"#datatype", "string"})
	f("error it went wrong", []string{"#datatype", "string", "string"}, []string{"error", "reference"}, []string{"it went wrong", "7"})
	f("[] [a b]\n"+`[]interface {}{"1", interface {}(nil)}`+"\n", []string{"#datatype", "string"}, []string{"", "a", "b"}, []string{"", "1", "2"}) // a type too few
	f("[] [reference error]\n"+`[]interface {}{"7", interface {}(nil)}`+"\n", []string{"#datatype", "string", "string"}, []string{"", "reference", "error"}, []string{"", "7"})
	f("[] [error reference]\n", []string{"#datatype"}, []string{"error", "reference"})
}

// Values of Flux and of SQL have their types, as far as text shows them.
func TestValuesOfAnswers(t *testing.T) {
	for _, c := range []struct {
		text, kind string
		want       any
	}{{"1", "long", json.Number("1")}, {"", "long", nil}, {"NaN", "double", "NaN"}, {"-1.5e3", "double", json.Number("-1.5e3")}, {"", "string", ""}, {"1", "string", "1"},
		{"true", "boolean", true}, {"false", "boolean", false}, {"x", "boolean", "x"}, {"3", "unsignedLong", json.Number("3")}} {
		if got := fluxValue(c.text, c.kind); got != c.want {
			t.Errorf("%q as %s: %#v, want %#v", c.text, c.kind, got, c.want)
		}
	}
	for text, want := range map[string]any{"": nil, "true": true, "false": false, "7": json.Number("7"), "-0.5e-3": json.Number("-0.5e-3"), "007": "007", "a": "a"} {
		if got := sqlValue(text); got != want {
			t.Errorf("%q: %#v, want %#v", text, got, want)
		}
	}
}

// Which proxy gets a request: the configured one, or the environment's for https beyond this
// machine alone.
func TestWhichProxy(t *testing.T) {
	through, _ := url.Parse("http://proxy.example:3128")
	f := func(to, server, want string, through *url.URL) {
		t.Helper()
		s, err := Config{URL: server}.resolve()
		if err != nil {
			t.Fatal(err)
		}
		s.through = through
		u, _ := url.Parse(to)
		got, err := s.proxy(&http.Request{URL: u})
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", to, got, err, want)
		}
	}
	f("http://a.example", "http://a.example", "http://proxy.example:3128", through)
	f("http://a.example", "http://a.example", "<nil>", nil)
	f("https://influxdb", "https://influxdb", "<nil>", nil)
	f("https://a.example", "https://a.example", "http://secure.invalid:1", nil)
	f("https://127.0.0.1", "https://127.0.0.1", "<nil>", nil)
}

// An answer through a proxy says so, and an answer cannot say so itself.
func TestThroughAProxy(t *testing.T) {
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(proxyHeader, "forged")
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer p.Close()
	f := func(c Config, want string) {
		t.Helper()
		set, err := c.resolve()
		if err != nil {
			t.Fatal(err)
		}
		client := set.Client(10 * time.Second)
		defer client.Close()
		_, header, _, err := client.Write(t.Context(), 0, nil, false)
		if err != nil || Through(header) != want {
			t.Errorf("%q, %v, want %q", Through(header), err, want)
		}
	}
	f(Config{URL: p.URL}, "")
	f(Config{URL: "http://a.example", Proxy: p.URL}, "; the answer came through the proxy "+p.URL)
}

// What is said about a refusal of InfluxDB 3.
func TestRefusalsOf3(t *testing.T) {
	set, err := Config{URL: "http://127.0.0.1:1", Version: "3", Log: slog.New(slog.DiscardHandler)}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	c := set.Client(time.Second)
	const limit, create = "at most 5 databases; remove", "create them with an administrator's token"
	for code, want := range map[int][]string{400: {create}, 401: {create}, 403: {create}, 422: {limit}, 404: nil, 500: nil} {
		for _, missing := range []bool{false, true} {
			err := c.refused3("do it", &QueryError{Status: code, Message: "no"}, missing)
			for _, text := range []string{limit, create} {
				has := strings.Contains(err.Error(), text)
				wants := missing && text == create
				for _, w := range want {
					wants = wants || w == text
				}
				if has != wants {
					t.Errorf("%d, missing %v: %v", code, missing, err)
				}
			}
			if !strings.HasPrefix(err.Error(), "influx: set-up: do it: no") {
				t.Error(err)
			}
		}
	}
	if err := c.refused3("", errors.New("why"), true); !strings.HasPrefix(err.Error(), "influx: set-up: why;") {
		t.Error(err)
	}
	for code, want := range map[int]string{401: "want a token that InfluxDB 3 knows", 403: "an administrator's", 400: "", 500: ""} {
		if got := explain3(code, "no"); want == "" && got != "no" || !strings.Contains(got, want) {
			t.Errorf("%d: %s", code, got)
		}
	}
	if got := explain3(500, "the query-file-limit of 432"); !strings.Contains(got, "--since 48h") {
		t.Error(got)
	}
	if coreLimits("Core") != "Core has at most 5 databases, and a query reads about 72 hours" || coreLimits("Enterprise") != "none that a monitor meets" {
		t.Errorf("%s; %s", coreLimits("Core"), coreLimits("Enterprise"))
	}
}

// A server that refuses /ping too may be an InfluxDB 3.
func TestGuarded(t *testing.T) {
	set, err := Config{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	c := set.Client(time.Second)
	for _, f := range []struct {
		version string
		guarded bool
		want    bool
	}{{"", true, true}, {"", false, false}, {"1.8.10", true, false}} {
		set.found.set(f.version, "", f.guarded)
		if got := c.Guarded(); (got != "") != f.want {
			t.Errorf("%+v: %q", f, got)
		}
	}
}
