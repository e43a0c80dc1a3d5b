package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func goTool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), stderr.String())
	return string(out)
}

// TestModulesAreKubos compares our build list with what kubo's go.mod pins:
// the plugin must be of the same modules as the node that loads it.
func TestModulesAreKubos(t *testing.T) {
	var kubo struct{ Version, GoMod string }
	require.NoError(t, json.Unmarshal([]byte(goTool(t, "list", "-m", "-json", "github.com/ipfs/kubo")), &kubo))
	require.NotEmpty(t, kubo.Version)
	var pins struct {
		Go      string
		Require []struct{ Path, Version string }
	}
	require.NoError(t, json.Unmarshal([]byte(goTool(t, "mod", "edit", "-json", kubo.GoMod)), &pins))
	require.Greater(t, len(pins.Require), 200)
	require.True(t, strings.HasPrefix(pins.Go, "1.26"))

	ours := map[string]string{}
	for line := range strings.Lines(goTool(t, "list", "-m", "-f", "{{.Path}} {{.Version}}{{with .Replace}} replaced{{end}}", "all")) {
		if path, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			ours[path] = version
		}
	}
	for _, pin := range pins.Require {
		if version, ok := ours[pin.Path]; ok && version != pin.Version {
			t.Errorf("%s is %s, kubo %s pins %s", pin.Path, version, kubo.Version, pin.Version)
		}
	}
}

const module = "github.com/ipfsmon/ipfsmon/"

// mayImport says which rooms of ours a room may know. What is not here may be
// known by nobody but cmd and tests.
var mayImport = map[string]string{
	"event":      "",
	"bus":        "event",
	"privacy":    "event internal",
	"capture":    "event bus",
	"stream":     "event bus internal",
	"influx":     "event bus internal",
	"httpapi":    "event bus internal",
	"derive":     "event bus internal",
	"metrics":    "event bus internal",
	"introspect": "event bus internal",
	"probe":      "event bus influx internal",
	"proxy":      "event bus capture internal",
	"grafana":    "influx internal",
	"plugin":     "event bus privacy capture derive stream influx httpapi metrics introspect internal",
	"cmd":        "*",
	"test":       "*",
}

// TestImportsPointOneWay holds the way of the data: capture, event, bus, sinks.
func TestImportsPointOneWay(t *testing.T) {
	room := func(pkg string) string {
		first, _, _ := strings.Cut(strings.TrimPrefix(pkg, module), "/")
		return first
	}
	seen := 0
	for line := range strings.Lines(goTool(t, "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		from := room(pkg)
		if from == "internal" {
			for _, i := range strings.Fields(imports) {
				if strings.HasPrefix(i, module) && room(i) != "internal" {
					t.Errorf("%s imports %s: what is shared may know no room", pkg, i)
				}
			}
			continue
		}
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s: the room %q has no rule here", pkg, from)
		}
		seen++
		for _, i := range strings.Fields(imports) {
			if !strings.HasPrefix(i, module) || room(i) == from || allowed == "*" {
				continue
			}
			if !strings.Contains(" "+allowed+" ", " "+room(i)+" ") {
				t.Errorf("%s imports %s, and may import only: %s", pkg, i, allowed)
			}
		}
	}
	require.GreaterOrEqual(t, seen, len(mayImport))
}

// TestDependenciesHaveReasons wants every module that we ask for ourselves to
// be in docs/dependencies.md.
func TestDependenciesHaveReasons(t *testing.T) {
	doc, err := os.ReadFile("../docs/dependencies.md")
	require.NoError(t, err)
	n := 0
	for path := range strings.Lines(goTool(t, "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all")) {
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
