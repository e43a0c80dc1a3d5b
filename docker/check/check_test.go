// Package check reads the compose files and the Dockerfiles with the parsers of their
// programs and checks the rules of the stack. It is its own module: compose-go and
// BuildKit need versions that the node's modules do not have.
package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const root = "../.."

// variables are those that the overlays require.
var variables = []string{
	"IPFSMON_HOST=monitor.example.org", "IPFSMON_TLS_CERT=/etc/ssl/cert.pem", "IPFSMON_TLS_KEY=/etc/ssl/key.pem",
	"IPFSMON_STREAM_CLIENTS=/etc/ssl/ca.pem", "IPFSMON_RUN=/run/ipfsmon", "IPFSMON_INFLUXDB_URL=https://influx.example:8086",
	"IPFSMON_INFLUXDB_OPERATOR=/etc/operator.token",
}

// load reads the stack with overlays, all profiles on.
func load(t *testing.T, overlays ...string) *types.Project {
	t.Helper()
	files := []string{filepath.Join(root, "docker-compose.yml")}
	for _, o := range overlays {
		files = append(files, filepath.Join(root, "docker", "compose", o+".yml"))
	}
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(root), cli.WithEnv(variables), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stacks are the combinations of files that the files' comments describe.
var stacks = [][]string{nil, {"tls"}, {"tls", "public"}, {"tls", "stream"}, {"tls", "public", "stream"}, {"existing-node"}, {"scale"}, {"scale", "tls", "public"}, {"influxdb3"}, {"influxdb3", "tls", "public"}, {"existing-node", "influxdb3"}, {"broker"}, {"broker", "tls", "public"}, {"broker", "fleet"}, {"broker", "fleet", "tls", "public"}}

// published says which service may publish which ports, and on which addresses; "" is all
// addresses.
func published(overlays []string) map[string]string {
	m := map[string]string{
		"nginx 8080": "127.0.0.1", "node 4001": "0.0.0.0", "watch 4001": "0.0.0.0", "relay 8089": "127.0.0.1", "relay 8090": "127.0.0.1",
	}
	if slices.Contains(overlays, "tls") {
		m["nginx 8443"] = "127.0.0.1"
	}
	if slices.Contains(overlays, "public") {
		m["nginx 8080"], m["nginx 8443"] = "", ""
	}
	if slices.Contains(overlays, "stream") {
		m["nginx 8182"] = "127.0.0.1"
	}
	if slices.Contains(overlays, "existing-node") {
		m["influxdb 8086"] = "127.0.0.1"
	}
	return m
}

// TestComposeFiles holds the rules that make the stack safe to leave running.
func TestComposeFiles(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:(local|\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?)$`)
	for _, overlays := range stacks {
		t.Run(strings.Join(overlays, "+"), func(t *testing.T) {
			p := load(t, overlays...)
			allowed := published(overlays)
			for name, s := range p.Services {
				switch {
				case !s.ReadOnly || s.Privileged:
					t.Errorf("%s: want read_only and no privileges", name)
				case !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0:
					t.Errorf("%s: want no capabilities, got cap_drop %v, cap_add %v", name, s.CapDrop, s.CapAdd)
				case !slices.Contains(s.SecurityOpt, "no-new-privileges:true"):
					t.Errorf("%s: want no-new-privileges", name)
				case s.MemLimit == 0 || s.PidsLimit == 0:
					t.Errorf("%s: want limits of memory and processes", name)
				case s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "":
					t.Errorf("%s: want its log rotated", name)
				case s.HealthCheck == nil && name != "setup" && name != "relay" && name != "scheduler": // which end, or need no answer
					t.Errorf("%s: want a health check", name)
				case s.User == "" && s.Build == nil || strings.HasPrefix(s.User, "0") || strings.HasPrefix(s.User, "root"):
					t.Errorf("%s: want a user that is not root, got %q", name, s.User)
				case len(s.Tmpfs) > 0 && !bounded(s.Tmpfs):
					t.Errorf("%s: want a size for each tmpfs, which counts as its memory: %v", name, s.Tmpfs)
				case s.ContainerName != "" || s.NetworkMode != "":
					t.Errorf("%s: want neither a fixed name nor a network of the machine", name)
				case !pinned.MatchString(s.Image):
					t.Errorf("%s: want an image with a version, got %q", name, s.Image)
				}
				for _, port := range s.Ports {
					key := fmt.Sprintf("%s %d", name, port.Target)
					where, ok := allowed[key]
					if !ok || port.HostIP != where {
						t.Errorf("%s is published on %q: want %v", key, port.HostIP, allowed)
					}
				}
				for key, v := range s.Environment {
					if v == nil {
						t.Errorf("%s: %s is taken from whoever starts it", name, key)
						continue
					}
					secret := regexp.MustCompile(`(?i)(password|token|secret|key)$`).MatchString(key)
					if secret && *v != "" {
						t.Errorf("%s: %s has a secret in the environment; give a file", name, key)
					}
				}
				for other := range p.Services {
					for _, key := range []string{"NO_PROXY", "no_proxy"} {
						direct := s.Environment[key]
						speaks := name != "nginx" && name != "influxdb" && name != "postgres" // which make no requests that the variables for proxies affect
						if speaks && other != "setup" && other != "relay" && (direct == nil || !slices.Contains(strings.Split(*direct, ","), other)) {
							t.Errorf("%s: want %s in %s, so that an HTTP proxy of Docker's client is not asked for it", name, other, key)
						}
					}
				}
				if check := s.HealthCheck; check != nil {
					if text := strings.Join(check.Test, " "); strings.Contains(text, "wget") && !strings.Contains(text, "http_proxy= wget") {
						t.Errorf("%s: its health check would ask an HTTP proxy of Docker's client: %s", name, text)
					}
				}
				for _, v := range s.Volumes {
					if v.Type == types.VolumeTypeBind && !v.ReadOnly {
						t.Errorf("%s: %s is mounted to be written to", name, v.Source)
					}
					if v.Type == types.VolumeTypeBind && name != "relay" {
						if _, err := os.Stat(v.Source); err != nil {
							t.Errorf("%s: %v", name, err)
						}
					}
					if strings.HasPrefix(v.Source, "secrets-") && name != "setup" && (!v.ReadOnly || v.Volume == nil || !v.Volume.NoCopy) {
						t.Errorf("%s: want %s read_only and nocopy", name, v.Source)
					}
				}
				if name != "setup" && name != "influxdb" {
					if d, ok := s.DependsOn["setup"]; !ok || d.Condition != types.ServiceConditionCompletedSuccessfully {
						t.Errorf("%s: want it started after setup has ended", name)
					}
				}
			}
			if back := p.Networks["back"]; !back.Internal {
				t.Error("want the network back internal")
			}
			if s, ok := p.Services["influxdb"]; ok {
				if _, front := s.Networks["front"]; front != slices.Contains(overlays, "existing-node") {
					t.Error("influxdb: only a node outside of the stack reaches it from elsewhere")
				}
			}
		})
	}
}

// TestPortsDoNotMeet: InfluxDB 3 listens on the port of the event stream by default. In the stack
// it does not, no service publishes that port, and what Grafana asks is the address that it has.
func TestPortsDoNotMeet(t *testing.T) {
	for _, overlays := range stacks {
		p := load(t, overlays...)
		for name, s := range p.Services {
			for _, port := range s.Ports {
				if port.Published == "8181" || port.Target == 8181 {
					t.Errorf("%v: %s publishes 8181", overlays, name)
				}
			}
			text := strings.Join(append(append([]string{}, s.Command...), s.Entrypoint...), " ")
			if strings.Contains(text, "8181") || strings.Contains(text, "influxdb3") && !strings.Contains(text, "--http-bind=0.0.0.0:8086") {
				t.Errorf("%v: %s runs %s", overlays, name, text)
			}
		}
		if slices.Contains(overlays, "influxdb3") {
			if v := p.Services["grafana"].Environment["IPFSMON_INFLUXDB_URL"]; v == nil || *v != "http://influxdb:8086" {
				t.Errorf("%v: Grafana asks %v", overlays, v)
			}
			if !slices.ContainsFunc(p.Services["grafana"].Volumes, func(v types.ServiceVolumeConfig) bool {
				return strings.HasSuffix(v.Source, "grafana/influxdb3.yml") && v.Target == "/etc/grafana/provisioning/datasources/ipfsmon.yml"
			}) {
				t.Errorf("%v: Grafana has the data sources of InfluxDB 2", overlays)
			}
			if !regexp.MustCompile(`^influxdb:3\.`).MatchString(p.Services["influxdb"].Image) {
				t.Errorf("%v: image %s", overlays, p.Services["influxdb"].Image)
			}
		}
	}
}

// bounded reports whether each tmpfs has a size.
func bounded(tmpfs types.StringList) bool {
	return !slices.ContainsFunc(tmpfs, func(m string) bool { return !strings.Contains(m, "size=") })
}

// TestInfluxDBIsHardened: who may look at Grafana may send Flux.
func TestInfluxDBIsHardened(t *testing.T) {
	env := load(t).Services["influxdb"].Environment
	for key, want := range map[string]string{"INFLUXD_HARDENING_ENABLED": "true", "INFLUXD_TEMPLATE_FILE_URLS_DISABLED": "true"} {
		if v := env[key]; v == nil || *v != want {
			t.Errorf("%s: want %s", key, want)
		}
	}
	for _, key := range []string{"INFLUXD_QUERY_CONCURRENCY", "INFLUXD_QUERY_QUEUE_SIZE", "INFLUXD_QUERY_MEMORY_BYTES", "INFLUXD_QUERY_MAX_MEMORY_BYTES"} {
		if v := env[key]; v == nil || *v == "" || *v == "0" {
			t.Errorf("%s: want a bound", key)
		}
	}
}

// TestGrafanaKnowsItsAddress: links in alerts begin with it.
func TestGrafanaKnowsItsAddress(t *testing.T) {
	for overlays, want := range map[string]string{
		"": "http://monitor.example.org:8080/grafana/", "tls": "https://monitor.example.org:8443/grafana/", "tls public": "https://monitor.example.org/grafana/",
	} {
		if v := load(t, strings.Fields(overlays)...).Services["grafana"].Environment["GF_SERVER_ROOT_URL"]; v == nil || *v != want {
			t.Errorf("overlays %q: want %s, got %v", overlays, want, v)
		}
	}
}

// TestProfiles: exactly one node runs, and the profile decides which.
func TestProfiles(t *testing.T) {
	for profile, want := range map[string][]string{"node": {"node"}, "demo": {"demo"}, "watch": {"watch"}, "probe": {"postgres", "probe1", "probe2", "scheduler"}} {
		options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithWorkingDirectory(root), cli.WithProfiles([]string{profile}))
		if err != nil {
			t.Fatal(err)
		}
		p, err := options.LoadProject(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		names := p.ServiceNames()
		slices.Sort(names)
		all := append([]string{"grafana", "influxdb", "nginx", "setup"}, want...)
		slices.Sort(all)
		if !slices.Equal(names, all) {
			t.Errorf("profile %s: %v, want %v", profile, names, all)
		}
	}
	b, err := os.ReadFile(filepath.Join(root, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^COMPOSE_PROFILES=node$`).Match(b) {
		t.Errorf(".env: want COMPOSE_PROFILES=node, so that docker compose up -d runs a node: %s", b)
	}
}

// TestDockerfiles reads them as BuildKit does, with its linter.
func TestDockerfiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docker", "*Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "docker", "*", "*Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, more...)
	if len(files) < 2 {
		t.Fatalf("found %v", files)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		parsed, err := parser.Parse(f)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, w := range parsed.Warnings {
			t.Errorf("%s: %s", file, w.Short)
		}
		lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, _ []parser.Range) {
			t.Errorf("%s: %s: %s (%s)", file, rule, message, description)
		}})
		stages, _, err := instructions.Parse(parsed.AST, lint)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, s := range stages {
			if !strings.Contains(s.BaseName, "$") {
				t.Errorf("%s: the base image %q is no argument", file, s.BaseName)
			}
		}
		if filepath.Dir(file) != filepath.Join(root, "docker") {
			continue // of the test
		}
		user := ""
		for _, c := range stages[len(stages)-1].Commands {
			if u, ok := c.(*instructions.UserCommand); ok {
				user = u.User
			}
		}
		if user != "10001:10001" {
			t.Errorf("%s: runs as %q", file, user)
		}
	}
}
