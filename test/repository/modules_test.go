package repository

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// ownModules are the modules whose version intentionally differs from kubo's, each with its
// reason. A module is here only while it differs.
var ownModules = []ownModule{
	{
		path:   "github.com/libp2p/go-libp2p",
		reason: "kubo replaces it by a fork that builds with its quic-go and that no module proxy serves; a `replace` is not inherited. Ours is the release that the fork waits for",
	},
	{
		path:   "github.com/quic-go/quic-go",
		of:     "github.com/libp2p/go-libp2p",
		reason: "our go-libp2p requires it",
	},
}

// ownModule is a module that differs from kubo's.
type ownModule struct {
	path   string
	of     string // a module in ownModules; path then is at the version which that one requires
	reason string
}

// modFile is what of a go.mod is read here, as `go mod edit -json` prints it.
type modFile struct {
	Go      string
	Require []moduleVersion
	Replace []struct{ Old, New moduleVersion }
}

type moduleVersion struct{ Path, Version string }

func readModFile(t *testing.T, file string) (m modFile) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(harness.Tool(t, "go", "mod", "edit", "-json", file)), &m))
	return m
}

// pins are the modules that a go.mod asks for, with what stands in their place
// where it replaces one.
func (m modFile) pins() map[string]moduleVersion {
	out := map[string]moduleVersion{}
	for _, r := range m.Require {
		out[r.Path] = r
	}
	for _, r := range m.Replace {
		if old, ok := out[r.Old.Path]; ok && (r.Old.Version == "" || r.Old.Version == old.Version) {
			out[r.Old.Path] = r.New
		}
	}
	return out
}

// moduleFaults compares our build list with the modules that kubo pins. own
// are the exceptions, required what each module in own requires itself.
func moduleFaults(ours, kubos map[string]moduleVersion, own []ownModule, required map[string]map[string]moduleVersion) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	meant := map[string]bool{}
	for _, o := range own {
		meant[o.path] = true
		mine, here := ours[o.path]
		pin, pinned := kubos[o.path]
		switch {
		case o.reason == "":
			fault("%s: an exception without a reason", o.path)
		case !here || !pinned || mine == pin:
			fault("%s does not differ from kubo's any more: take it out of ownModules", o.path)
		case o.of != "" && required[o.of][o.path] != mine:
			fault("%s is %s; %s requires %s", o.path, mine, o.of, required[o.of][o.path])
		}
	}
	for path, pin := range kubos {
		if mine, here := ours[path]; here && mine != pin && !meant[path] {
			fault("%s is %s, kubo's is %s", path, mine, pin)
		}
	}
	slices.Sort(faults)
	return faults
}

func (v moduleVersion) String() string { return v.Path + " " + v.Version }

// TestModulesAreKubos compares our build list with what kubo's go.mod pins and
// replaces: the plugin must be of the same modules as the node that loads it.
func TestModulesAreKubos(t *testing.T) {
	var kubo struct{ Version, GoMod string }
	require.NoError(t, json.Unmarshal([]byte(harness.Tool(t, "go", "list", "-m", "-json", "github.com/ipfs/kubo")), &kubo))
	require.NotEmpty(t, kubo.Version)
	theirs := readModFile(t, kubo.GoMod)
	require.Greater(t, len(theirs.Require), 200)
	require.Equal(t, goVersion(theirs.Go), goVersion(readModFile(t, "go.mod").Go), "go in go.mod")

	ours, files := map[string]moduleVersion{}, map[string]string{}
	for line := range strings.Lines(harness.Tool(t, "go", "list", "-m", "-f",
		"{{.Path}} {{with .Replace}}{{.Path}} {{.Version}} {{.GoMod}}{{else}}{{.Path}} {{.Version}} {{.GoMod}}{{end}}", "all")) {
		if f := strings.Fields(line); len(f) >= 3 {
			ours[f[0]] = moduleVersion{f[1], f[2]}
			files[f[0]] = f[len(f)-1]
		}
	}
	required := map[string]map[string]moduleVersion{}
	for _, o := range ownModules {
		if o.of != "" {
			require.NotEmpty(t, files[o.of], o.of)
			required[o.of] = readModFile(t, files[o.of]).pins()
		}
	}
	for _, f := range moduleFaults(ours, theirs.pins(), ownModules, required) {
		t.Errorf("kubo %s: %s", kubo.Version, f)
	}
	doc, err := os.ReadFile("../../docs/dependencies.md")
	require.NoError(t, err)
	_, differing, _ := strings.Cut(string(doc), "## What differs from kubo's modules")
	for _, o := range ownModules {
		require.Contains(t, differing, o.path, "docs/dependencies.md says what differs")
	}
}

// goVersion is a Go version without its patch: 1.26.5 is 1.26.
func goVersion(v string) string {
	f := strings.SplitN(v, ".", 3)
	return strings.Join(f[:min(2, len(f))], ".")
}

// TestModuleFaults shows what TestModulesAreKubos finds.
func TestModuleFaults(t *testing.T) {
	type versions map[string]moduleVersion
	at := func(path, version string) moduleVersion { return moduleVersion{path, version} }
	f := func(ours, kubos versions, own []ownModule, want ...string) {
		t.Helper()
		required := map[string]map[string]moduleVersion{"a": {"b": at("b", "v3")}}
		require.ElementsMatch(t, want, moduleFaults(ours, kubos, own, required))
	}
	same := versions{"a": at("a", "v1"), "b": at("b", "v1")}
	f(same, same, nil)
	f(versions{"a": at("a", "v1"), "mine": at("mine", "v9")}, same, nil) // nobody links b
	f(versions{"a": at("a", "v2")}, same, nil, "a is a v2, kubo's is a v1")
	f(versions{"a": at("fork/a", "v1")}, same, nil, "a is fork/a v1, kubo's is a v1")

	// kubo's own replace: what stands there is what counts.
	replaced := modFile{Require: []moduleVersion{at("a", "v1"), at("b", "v1")}}
	replaced.Replace = append(replaced.Replace, struct{ Old, New moduleVersion }{at("a", ""), at("fork/a", "v0")})
	f(versions{"a": at("fork/a", "v0"), "b": at("b", "v1")}, replaced.pins(), nil)
	f(same, replaced.pins(), nil, "a is a v1, kubo's is fork/a v0")
	f(same, replaced.pins(), []ownModule{{path: "a", reason: "meant"}})

	// An exception that is not needed, has no reason, or goes too far.
	f(same, same, []ownModule{{path: "a", reason: "meant"}}, "a does not differ from kubo's any more: take it out of ownModules")
	f(same, same, []ownModule{{path: "gone", reason: "meant"}}, "gone does not differ from kubo's any more: take it out of ownModules")
	f(same, replaced.pins(), []ownModule{{path: "a"}}, "a: an exception without a reason")
	raised := []ownModule{{path: "a", reason: "meant"}, {path: "b", of: "a", reason: "a requires it"}}
	f(versions{"a": at("a", "v1"), "b": at("b", "v3")}, replaced.pins(), raised)
	f(versions{"a": at("a", "v1"), "b": at("b", "v4")}, replaced.pins(), raised, "b is b v4; a requires b v3")
}

const module = "github.com/ipfsmon/ipfsmon/"

// mayImport lists which of our packages a package may import: exactly those that it does
// import. A package that is not listed may be imported only by cmd and tests.
var mayImport = map[string]string{
	"event":      "",
	"internal":   "event", // what is shared knows no other room
	"bus":        "event",
	"privacy":    "event internal",
	"capture":    "event bus internal",
	"stream":     "event bus internal",
	"influx":     "event bus internal",
	"broker":     "event bus stream internal", // its messages are the stream's formats
	"httpapi":    "event internal",
	"derive":     "event bus internal",
	"metrics":    "event bus internal",
	"introspect": "event bus internal",
	"probe":      "event internal",
	"proxy":      "event internal",
	"fleet":      "event stream broker internal",
	"watch":      "event capture introspect internal",
	"grafana":    "influx",
	"archive":    "event privacy stream influx internal",
	"monitor":    "event bus privacy capture derive stream influx broker httpapi metrics introspect internal",
	"plugin":     "event bus capture introspect monitor internal",
	"cmd":        "*",
	"examples":   "*",
	"bench":      "*",
	"test":       "*",
}

// inside is the same for the folders of a package that has several: in influx a
// point passes them from schema and lineproto through delivery.
var inside = map[string]string{
	"influx":                    "client delivery",
	"influx/schema":             "",
	"influx/rollup":             "schema",
	"influx/lineproto":          "schema rollup",
	"influx/client":             "schema",
	"influx/query":              "schema lineproto client",
	"influx/delivery":           "schema rollup lineproto client linezip",
	"influx/linezip":            "",
	"influx/embedded":           "",
	"influx/embedded/storetest": "embedded",
	"influx/influxtest":         "schema client",
}

// TestFoldersPointOneWay checks the path of a point through the folders of a room.
func TestFoldersPointOneWay(t *testing.T) {
	for line := range strings.Lines(harness.Tool(t, "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		pkg = strings.TrimPrefix(pkg, module)
		room, _, _ := strings.Cut(pkg, "/")
		if _, several := inside[room]; !several {
			continue
		}
		allowed, known := inside[pkg]
		if !known {
			t.Errorf("%s has no rule here", pkg)
		}
		var knows []string
		for i := range strings.FieldsSeq(imports) {
			if folder, ok := strings.CutPrefix(i, module+room+"/"); ok {
				knows = append(knows, folder)
			}
		}
		require.ElementsMatch(t, strings.Fields(allowed), knows, "%s imports of %s", pkg, room)
	}
}

// TestImportsPointOneWay checks the path of the data: capture, event, bus, sinks.
func TestImportsPointOneWay(t *testing.T) {
	room := func(pkg string) string {
		first, _, _ := strings.Cut(strings.TrimPrefix(pkg, module), "/")
		return first
	}
	seen, knows := 0, map[string]bool{}
	for line := range strings.Lines(harness.Tool(t, "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		from := room(pkg)
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s: the room %q has no rule here", pkg, from)
		}
		seen++
		for _, i := range strings.Fields(imports) {
			if !strings.HasPrefix(i, module) || room(i) == from || allowed == "*" {
				continue
			}
			knows[from+" "+room(i)] = true
			if !slices.Contains(strings.Fields(allowed), room(i)) {
				t.Errorf("%s imports %s, and may import only: %s", pkg, i, allowed)
			}
		}
	}
	for from, allowed := range mayImport {
		for _, to := range strings.Fields(allowed) {
			if to != "*" && !knows[from+" "+to] {
				t.Errorf("%s does not import %s: take it out of mayImport", from, to)
			}
		}
	}
	require.GreaterOrEqual(t, seen, len(mayImport))
}

// mayNeedKubo are the folders with packages that link kubo: no others, and each has one.
var mayNeedKubo = []string{"bench", "cmd", "internal/demo", "internal/loopback", "plugin", "test"}

// TestKuboIsInThePluginAlone: the monitor, the probe and the proxy are for any
// program that has a libp2p host.
func TestKuboIsInThePluginAlone(t *testing.T) {
	needs := map[string]bool{}
	for line := range strings.Lines(harness.Tool(t, "go", "list", "-f", "{{.ImportPath}} {{join .Deps \" \"}}", "./...")) {
		pkg, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
		pkg = strings.TrimPrefix(pkg, module)
		for dep := range strings.FieldsSeq(deps) {
			if !strings.HasPrefix(dep, "github.com/ipfs/kubo/") && dep != "github.com/ipfs/kubo" {
				continue
			}
			i := slices.IndexFunc(mayNeedKubo, func(room string) bool { return pkg == room || strings.HasPrefix(pkg, room+"/") })
			if i < 0 {
				t.Errorf("%s needs %s", pkg, dep)
				break
			}
			needs[mayNeedKubo[i]] = true
		}
	}
	for _, room := range mayNeedKubo {
		if !needs[room] {
			t.Errorf("nothing in %s needs kubo: remove it from mayNeedKubo", room)
		}
	}
}

// TestDependenciesHaveReasons wants every module that we ask for ourselves to
// be in docs/dependencies.md.
func TestDependenciesHaveReasons(t *testing.T) {
	doc, err := os.ReadFile("../../docs/dependencies.md")
	require.NoError(t, err)
	n := 0
	for path := range strings.Lines(harness.Tool(t, "go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all")) {
		if path = strings.TrimSpace(path); path == "" {
			continue
		}
		n++
		if !strings.Contains(string(doc), path) {
			t.Errorf("%s is asked for without a reason in docs/dependencies.md", path)
		}
	}
	require.Greater(t, n, 20)
}
