package check

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

const chartFolder = root + "/docker/helm/ipfsmon"

func chartOf(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type object = map[string]any

// rendered returns the chart's objects by kind and name.
func rendered(t *testing.T, values object) (map[string]object, error) {
	t.Helper()
	c := chartOf(t)
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "de1", Namespace: "monitoring", IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	out := map[string]object{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		d := yaml.NewDecoder(strings.NewReader(text))
		for {
			var o object
			if err := d.Decode(&o); err != nil {
				if err.Error() != "EOF" {
					t.Fatalf("%s: %v\n%s", name, err, text)
				}
				break
			}
			if o != nil {
				out[o["kind"].(string)+" "+o["metadata"].(object)["name"].(string)] = o
			}
		}
	}
	return out, nil
}

// in returns the value at a path of keys and indexes.
func in(t *testing.T, o any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := o.(object)
			if !ok || m[p] == nil {
				t.Fatalf("%v: nothing at %q in %v", path, p, o)
			}
			o = m[p]
		case int:
			o = o.([]any)[p]
		}
	}
	return o
}

// TestHelmChart reads the chart with helm's own linter, and renders it as it is installed: nothing
// is served beyond loopback unless asked for, and then not without TLS and a token.
func TestHelmChart(t *testing.T) {
	full := object{
		"http":           object{"expose": true, "tlsSecret": "tls", "tokenSecret": "token"},
		"serviceMonitor": object{"enabled": true, "serverName": "de1.example"},
		"influxdb":       object{"url": "https://influx.example", "org": "lab", "tokenSecret": "influx"},
		"settings":       object{"monitor": object{"Privacy": "pseudonym"}},
		"monitorName":    "de1",
	}
	for _, values := range []object{{}, full} {
		for _, m := range lint.All(chartFolder, values, "monitoring", true).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%v", m)
			}
		}
	}

	plain, err := rendered(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	set := plain["StatefulSet de1-ipfsmon"]
	pod := in(t, set, "spec", "template", "spec")
	container := in(t, pod, "containers", 0)
	if got := in(t, container, "image"); got != "ghcr.io/ipfsmon/ipfsmon:"+chartOf(t).Metadata.AppVersion {
		t.Errorf("image: %v", got)
	}
	for _, want := range []struct {
		value any
		path  []any
	}{
		{true, []any{"securityContext", "readOnlyRootFilesystem"}}, {false, []any{"securityContext", "allowPrivilegeEscalation"}},
		{"ALL", []any{"securityContext", "capabilities", "drop", 0}},
		{"health", []any{"livenessProbe", "exec", "command", 1}}, {"--ready", []any{"readinessProbe", "exec", "command", 2}},
	} {
		if got := in(t, container, want.path...); got != want.value {
			t.Errorf("%v: %v", want.path, got)
		}
	}
	env := func(o object) map[string]string {
		out := map[string]string{}
		for _, e := range in(t, o, "spec", "template", "spec", "containers", 0, "env").([]any) {
			value, _ := e.(object)["value"].(string)
			out[e.(object)["name"].(string)] = value
		}
		return out
	}
	if e := env(set); strings.Contains(e["IPFSMON_HTTP_LISTEN_ADDRESSES"], ",") || e["IPFSMON_HTTP_ALLOW_INSECURE"] != "" {
		t.Errorf("listens beyond loopback: %v", e)
	}
	if plain["ServiceMonitor de1-ipfsmon"] != nil {
		t.Error("there is a ServiceMonitor without values")
	}

	all, err := rendered(t, full)
	if err != nil {
		t.Fatal(err)
	}
	e := env(all["StatefulSet de1-ipfsmon"])
	if e["IPFSMON_HTTP_TOKEN_FILES"] != "/secrets/http/token" || e["IPFSMON_INFLUXDB_TOKEN_FILE"] != "/secrets/influxdb/token" || e["IPFSMON_HTTP_ALLOW_INSECURE"] != "" {
		t.Errorf("secrets: %v", e)
	}
	endpoint := in(t, all["ServiceMonitor de1-ipfsmon"], "spec", "endpoints", 0)
	if in(t, endpoint, "scheme") != "https" || in(t, endpoint, "authorization", "credentials", "name") != "token" || in(t, endpoint, "path") != "/metrics" {
		t.Errorf("endpoint: %v", endpoint)
	}
	// What the ServiceMonitor selects is a service with the port that it names.
	labels := in(t, all["Service de1-ipfsmon"], "metadata", "labels").(object)
	for k, v := range in(t, all["ServiceMonitor de1-ipfsmon"], "spec", "selector", "matchLabels").(object) {
		if labels[k] != v {
			t.Errorf("the ServiceMonitor wants %s=%v, the service has %v", k, v, labels[k])
		}
	}
	if in(t, all["Service de1-ipfsmon"], "spec", "ports", 0, "name") != in(t, endpoint, "port") {
		t.Error("the ServiceMonitor's port is not the service's")
	}

	for _, bad := range []struct {
		values object
		want   string
	}{
		{object{"http": object{"expose": true}}, "want http.tlsSecret and http.tokenSecret, or http.allowInsecure"},
		{object{"http": object{"expose": true, "tlsSecret": "tls"}}, "want http.tlsSecret and http.tokenSecret"},
		{object{"serviceMonitor": object{"enabled": true}}, "want http.expose"},
		{object{"htpp": object{}}, "htpp"},
	} {
		if _, err := rendered(t, bad.values); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v, want an error with %q", bad.values, err, bad.want)
		}
	}
}

// TestHelmVersion: the chart is of the version that is built.
func TestHelmVersion(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "internal", "release", "release.go"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^const next = "([0-9.]+)(-dev)?"$`).FindSubmatch(b)
	if m == nil {
		t.Fatal("no version in internal/release")
	}
	if c := chartOf(t); c.Metadata.AppVersion != string(m[1]) || c.Metadata.Version != string(m[1]) {
		t.Errorf("Chart.yaml: version %s, appVersion %s; want %s", c.Metadata.Version, c.Metadata.AppVersion, m[1])
	}
}
