//go:build stack || all

package stack

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/cmd/ipfsmon/setup"
)

// stackRun is the project's own stack on a real Docker engine, with the demo's
// swarm in place of the public network.
type stackRun struct {
	*engine
	t       *testing.T
	secrets map[string]string
	begun   time.Time
}

// startStack brings docker-compose.yml up with a profile, without what an
// earlier run may have left, and ends it with the test.
func startStack(t *testing.T, profile string, env ...string) *stackRun {
	t.Helper()
	begun := time.Now()
	e := startEngine(t)
	e.images()
	compose := cached(t, "docker-compose-5.1.4")
	_, err := e.try(nil, "docker/test/compose.sh", compose)
	require.NoError(t, err)
	e.env = append(e.env, env...)
	e.compose = []string{compose, "-f", "docker-compose.yml", "-f", "docker/test/compose.yml", "--profile", profile}
	e.stack("--profile", "*", "down", "-v", "--remove-orphans") // what a run left that was killed
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := e.try(nil, e.compose[0], append(e.compose[1:], "logs", "--tail", "60")...)
			t.Logf("the containers' logs:\n%s", logs)
		}
		e.stack("--profile", "*", "down", "-v", "--remove-orphans")
	})

	e.stack("up", "-d")
	t.Logf("the stack is up after %v", time.Since(begun).Round(time.Second))
	s := &stackRun{engine: e, t: t, secrets: map[string]string{}, begun: begun}
	for _, name := range setup.Files {
		s.secrets[name] = e.stack("run", "--rm", "--no-deps", "-T", "setup", "show", name)
		require.GreaterOrEqual(t, len(s.secrets[name]), 52, name)
	}
	return s
}

// TestStackDocker brings docker-compose.yml up, restarts and kills its
// containers one by one, ends it and brings it up again, and loses no point. Finally it is
// destroyed and restored from a backup.
func TestStackDocker(t *testing.T) {
	s := startStack(t, "demo")
	e := s.engine
	s.grows()
	s.unprivileged(map[string]string{"nginx 8080/tcp": "127.0.0.1"})
	s.web()

	for _, name := range []string{"influxdb", "nginx", "demo"} {
		s.losesNothing("restart of "+name, func() { e.stack("restart", name) })
	}
	s.losesNothing("InfluxDB killed, and away for a while", func() {
		e.stack("kill", "influxdb")
		before := s.pipeline()
		require.Eventually(t, func() bool { return s.pipeline().Queued > before.Queued+100 }, time.Minute, 200*time.Millisecond)
		e.stack("up", "-d")
	})
	s.losesNothing("the node killed", func() {
		e.stack("kill", "demo")
		e.stack("up", "-d")
	})
	s.losesNothing("down and up", func() {
		e.stack("down")
		e.stack("up", "-d")
	})
	for name, secret := range s.secrets {
		require.Equal(t, secret, e.stack("run", "--rm", "--no-deps", "-T", "setup", "show", name), "%s has changed", name)
	}

	// A backup, and a stack that is made of it where there was none.
	folder := filepath.Join(e.dir, "backup")
	s.env = append(s.env, "COMPOSE="+strings.Join(e.compose, " "))
	kept, until := s.points()
	const repository = "ipfsmontest_node-data" // of a node that is not the demo's, with a secret that no backup may have
	e.docker("volume", "create", "--label", "com.docker.compose.project=ipfsmontest", "--label", "com.docker.compose.volume=node-data", repository)
	e.docker("run", "--rm", "--network", "none", "--user", "0:0", "-v", repository+":/volume", "--entrypoint", "sh", "ipfsmon-test/influxdb", "-ec",
		"mkdir /volume/ipfsmon; echo secret > /volume/ipfsmon/pseudonym.key; echo kept > /volume/ipfsmon/kept; chown -R 10001:10001 /volume")
	_, err := e.try(nil, "docker/backup.sh", "--node", folder)
	require.NoError(t, err)
	packed, err := exec.Command("tar", "-tf", filepath.Join(folder, "node-data.tar")).Output()
	require.NoError(t, err)
	require.Contains(t, string(packed), "ipfsmon/kept")
	require.NotContains(t, string(packed), "pseudonym", "with it, pseudonyms of that day are names again")
	_, err = e.try(nil, "docker/restore.sh", folder)
	require.ErrorContains(t, err, "the stack has containers")
	e.stack("down", "-v")
	e.docker("volume", "rm", repository)
	require.Empty(t, e.docker("volume", "ls", "-q", "--filter", "label=com.docker.compose.project=ipfsmontest"))
	_, err = e.try(nil, "docker/restore.sh", folder)
	require.NoError(t, err)
	e.stack("up", "-d")
	s.compare("backup and restore", kept, until)
	s.grows()
	for name, secret := range s.secrets {
		require.Equal(t, secret, e.stack("run", "--rm", "--no-deps", "-T", "setup", "show", name), "%s has changed", name)
	}
	s.publicNode()
	s.lightNode()
	s.collectors()
}

// TestStackConfig has the real docker compose read every way to put the
// files together.
func TestStackConfig(t *testing.T) {
	compose := cached(t, "docker-compose-5.1.4")
	out, err := exec.Command("../../docker/test/compose.sh", compose).CombinedOutput()
	require.NoError(t, err, string(out))
	for _, overlays := range [][]string{nil, {"tls"}, {"tls", "public"}, {"tls", "stream"}, {"existing-node"}, {"scale"}, {"influxdb3"}, {"broker"}, {"broker", "fleet"}} {
		args := []string{"--project-directory", "../..", "-f", "../../docker-compose.yml"}
		for _, o := range overlays {
			args = append(args, "-f", "../../docker/compose/"+o+".yml")
		}
		cmd := exec.Command(compose, append(args, "--profile", "*", "config", "-q")...)
		cmd.Env = append(os.Environ(), "IPFSMON_HOST=monitor.example.org", "IPFSMON_TLS_CERT=/c", "IPFSMON_TLS_KEY=/k", "IPFSMON_STREAM_CLIENTS=/s",
			"IPFSMON_RUN=/run/ipfsmon", "IPFSMON_INFLUXDB_URL=https://influx.example:8086", "IPFSMON_INFLUXDB_OPERATOR=/o")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", overlays, out)
		require.Empty(t, string(out), "%v", overlays)
		if len(overlays) > 0 && overlays[0] != "influxdb3" && overlays[0] != "broker" { // each says what it needs; those need nothing
			out, err = exec.Command(compose, append(args, "config", "-q")...).CombinedOutput()
			require.Error(t, err, "%v", overlays)
			require.Contains(t, string(out), "required variable IPFSMON_")
		}
	}
}

// publicNode runs what "docker compose up -d" runs, with the overlays for a
// public address: the node that is not the demo's, and nginx with TLS.
func (s *stackRun) publicNode() {
	t := s.t
	t.Helper()
	a := newAuthority(t)
	cert, key := a.leaf(x509.ExtKeyUsageServerAuth)
	for name, b := range map[string][]byte{"cert": cert, "key": key} {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), b, 0o444))
	}
	require.NoError(t, os.Chmod(s.dir, 0o755))
	s.env = append(s.env, "IPFSMON_HOST=localhost", "IPFSMON_TLS_CERT="+filepath.Join(s.dir, "cert"), "IPFSMON_TLS_KEY="+filepath.Join(s.dir, "key"))
	s.stack("stop", "demo")
	s.compose = []string{s.compose[0], "-f", "docker-compose.yml", "-f", "docker/compose/tls.yml", "-f", "docker/compose/public.yml", "-f", "docker/test/compose.yml"}
	s.stack("up", "-d", "--remove-orphans")
	c := s.client()
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: a.pool}
	ask := func(password string) int {
		req, err := http.NewRequest("GET", "https://127.0.0.1/metric_plugin/v1/ready", nil)
		require.NoError(t, err)
		if password != "" {
			req.SetBasicAuth("ipfsmon", password)
		}
		resp, err := c.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	require.Eventually(t, func() bool { return ask(s.secrets[setup.WebPassword]) == 200 }, time.Minute, 200*time.Millisecond, "the node behind TLS and a login")
	require.Equal(t, 401, ask(""))
	require.Equal(t, 401, ask("guess"))
	s.unprivileged(map[string]string{"nginx 8080/tcp": "", "nginx 8443/tcp": "", "node 4001/tcp": "0.0.0.0", "node 4001/udp": "0.0.0.0"})
	before, _ := s.points()
	require.Eventually(t, func() bool {
		now, err := s.count(time.Now())
		return err == nil && now["totals.node"] > before["totals.node"]
	}, time.Minute, 300*time.Millisecond, "the node writes")
}

// lightNode runs the profile watch in place of the node, and keeps what it has in a backup.
func (s *stackRun) lightNode() {
	t := s.t
	t.Helper()
	s.stack("rm", "--stop", "--force", "node")
	s.compose = []string{s.compose[0], "-f", "docker-compose.yml", "-f", "docker/test/compose.yml", "--profile", "watch"}
	s.env = append(s.env, "COMPOSE_PROFILES=watch")
	s.stack("up", "-d", "--remove-orphans")
	status := func() (code int) {
		code, _, _ = s.get("localhost", "/metric_plugin/v1/ready")
		return code
	}
	require.Eventually(t, func() bool { return status() == 200 }, time.Minute, 200*time.Millisecond, "the light node behind nginx")
	s.unprivileged(map[string]string{"nginx 8080/tcp": "127.0.0.1", "watch 4001/tcp": "0.0.0.0", "watch 4001/udp": "0.0.0.0"})
	before, _ := s.points()
	require.Eventually(t, func() bool {
		now, err := s.count(time.Now())
		return err == nil && now["totals.node"] > before["totals.node"]
	}, time.Minute, 300*time.Millisecond, "the light node writes")

	folder := filepath.Join(s.dir, "backup-light")
	_, err := s.try(nil, "docker/backup.sh", "--node", folder)
	require.NoError(t, err)
	packed, err := exec.Command("tar", "-tf", filepath.Join(folder, "watch-data.tar")).Output()
	require.NoError(t, err)
	require.Contains(t, string(packed), "watch/key")
	require.Eventually(t, func() bool { return status() == 200 }, time.Minute, 200*time.Millisecond, "the light node after the backup")
}

// collectors runs the demo's node with RabbitMQ and three collectors, of which two then end.
func (s *stackRun) collectors() {
	t := s.t
	t.Helper()
	s.stack("rm", "--stop", "--force", "watch")
	s.compose = []string{s.compose[0], "-f", "docker-compose.yml", "-f", "docker/compose/broker.yml", "-f", "docker/compose/fleet.yml", "-f", "docker/test/compose.yml"}
	s.env = append(s.env, "COMPOSE_PROFILES=demo,fleet", "IPFSMON_IMAGE=ipfsmon-test/ipfsmon", "IPFSMON_RABBITMQ_IMAGE=ipfsmon-test/rabbitmq")
	s.stack("up", "-d", "--remove-orphans")
	for _, service := range []string{"rabbitmq", "collector1", "collector2", "collector3"} {
		require.Eventually(t, func() bool {
			return s.docker("inspect", "-f", "{{.State.Health.Status}}", "ipfsmontest-"+service+"-1") == "healthy"
		}, stackPatience, 500*time.Millisecond, "%s is not healthy", service)
	}
	s.unprivileged(map[string]string{"nginx 8080/tcp": "127.0.0.1"})

	// What the collectors counted since a time, of all peers that their parts have.
	counted := func(since time.Time) (requests float64, nodes map[string]bool) {
		all, err := s.ask(fmt.Sprintf(`SELECT "requests", "node" FROM totals.fleet WHERE time > '%s'`, since.UTC().Format(time.RFC3339Nano)))
		nodes = map[string]bool{}
		if err == nil && len(all) == 1 {
			for _, row := range all[0].Values {
				requests += row[1].(float64)
				nodes[row[2].(string)] = true
			}
		}
		return requests, nodes
	}
	require.Eventually(t, func() bool {
		requests, nodes := counted(s.begun)
		return requests > 0 && nodes["fleet-1"] && nodes["fleet-2"] && nodes["fleet-3"]
	}, stackPatience, 500*time.Millisecond, "three collectors count")
	s.stack("stop", "collector1", "collector2")
	alone := time.Now()
	var queues string
	require.Eventually(t, func() bool {
		// Every queue of events has one reader, the third, who has all of it.
		queues = s.stack("exec", "-T", "rabbitmq", "rabbitmqctl", "-q", "list_queues", "--no-table-headers", "name", "consumers", "messages_ready")
		parts := 0
		for line := range strings.Lines(queues) {
			var name string
			var consumers, ready int
			if _, err := fmt.Sscan(line, &name, &consumers, &ready); err != nil {
				return false
			}
			if strings.Contains(name, "state") {
				continue
			}
			if parts++; consumers != 1 || ready > 5 {
				return false
			}
		}
		requests, _ := counted(alone)
		return parts >= 3 && requests > 0
	}, stackPatience, 500*time.Millisecond, "the third has what the others had")
	t.Logf("the third collector has all queues:\n%s", queues)
}

// pipeline is what the node reports of its points, by way of nginx.
func (s *stackRun) pipeline() (p struct{ Stored, Queued, Dropped, Rejected uint64 }) {
	s.t.Helper()
	var answer struct {
		Result struct{ Influx json.RawMessage }
	}
	require.Eventually(s.t, func() bool {
		status, body, err := s.get("localhost", "/metric_plugin/v1/pipeline")
		return err == nil && status == 200 && json.Unmarshal(body, &answer) == nil && json.Unmarshal(answer.Result.Influx, &p) == nil
	}, time.Minute, 100*time.Millisecond, "the node's API by way of nginx")
	return p
}

// get asks nginx, as a browser on this machine does.
func (s *stackRun) get(host, path string) (int, []byte, error) {
	c := s.client()
	req, err := http.NewRequest("GET", "http://127.0.0.1:8080"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Host = host
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// series is what InfluxQL answers.
type series struct {
	Name    string
	Columns []string
	Values  [][]any
}

// ask asks InfluxDB in InfluxQL, with Grafana's token.
func (s *stackRun) ask(q string) ([]series, error) {
	ip, err := s.try(nil, "docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "ipfsmontest-influxdb-1")
	if err != nil || ip == "" {
		return nil, fmt.Errorf("where InfluxDB is: %q, %w", ip, err)
	}
	req, err := http.NewRequest("POST", "http://"+strings.Fields(ip)[0]+":8086/query?"+url.Values{"db": {"ipfsmon"}, "q": {q}}.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Token "+s.secrets[setup.GrafanaToken])
	resp, err := s.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Results []struct {
			Error  string
			Series []series
		}
		Code string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != 1 || answer.Results[0].Error != "" || answer.Code != "" {
		return nil, fmt.Errorf("InfluxDB says %+v", answer)
	}
	return answer.Results[0].Series, nil
}

// count counts the points of every measurement until a time.
func (s *stackRun) count(until time.Time) (map[string]float64, error) {
	counts := map[string]float64{}
	for _, policy := range []string{"history", "totals"} {
		all, err := s.ask(fmt.Sprintf(`SELECT count(*) FROM "ipfsmon"."%s"./.*/ WHERE time < '%s'`, policy, until.UTC().Format(time.RFC3339Nano)))
		if err != nil {
			return nil, err
		}
		for _, series := range all {
			for _, v := range series.Values[0][1:] { // of all fields: every point has some
				if n, ok := v.(float64); ok {
					counts[policy+"."+series.Name] = max(counts[policy+"."+series.Name], n)
				}
			}
		}
	}
	return counts, nil
}

// points counts what is stored until now.
func (s *stackRun) points() (counts map[string]float64, until time.Time) {
	s.t.Helper()
	// Younger points are in transit, and may be kept or not when the node is
	// killed.
	until = time.Now().Add(-3 * time.Second)
	require.Eventually(s.t, func() (ok bool) {
		var err error
		counts, err = s.count(until)
		return err == nil && len(counts) > 0
	}, time.Minute, 200*time.Millisecond, "InfluxDB does not answer")
	return counts, until
}

// grows waits until points come in.
func (s *stackRun) grows() {
	s.t.Helper()
	var first float64
	require.Eventually(s.t, func() bool {
		counts, err := s.count(time.Now())
		if err != nil {
			return false
		}
		if first == 0 {
			first = counts["history.wants"]
		}
		return counts["history.wants"] > first+100
	}, 2*time.Minute, 300*time.Millisecond, "no points come in")
}

// losesNothing applies a change to the stack and compares the stored points before and after.
func (s *stackRun) losesNothing(what string, do func()) {
	s.t.Helper()
	counts, until := s.points()
	do()
	s.compare(what, counts, until)
	s.grows()
	p := s.pipeline()
	require.Zero(s.t, p.Dropped, what)
	require.Zero(s.t, p.Rejected, what)
}

// compare waits for InfluxDB and looks whether all is there that was.
func (s *stackRun) compare(what string, before map[string]float64, until time.Time) {
	s.t.Helper()
	var now map[string]float64
	require.Eventually(s.t, func() (ok bool) {
		var err error
		now, err = s.count(until)
		return err == nil
	}, 2*time.Minute, 300*time.Millisecond, "%s: InfluxDB does not answer", what)
	sum := 0.0
	for name, n := range before {
		require.GreaterOrEqual(s.t, now[name], n, "%s: %s", what, name)
		sum += n
	}
	s.t.Logf("%s: all of %.0f points are there", what, sum)
}

// unprivileged looks at how the containers run, and that no secret is where
// anyone but its user sees it.
func (s *stackRun) unprivileged(want map[string]string) {
	t := s.t
	t.Helper()
	published := map[string]string{}
	for _, id := range strings.Fields(s.stack("ps", "-aq")) {
		raw := s.docker("inspect", id)
		for name, secret := range s.secrets {
			require.NotContains(t, raw, secret, "%s is in the engine's description of a container", name)
		}
		var all []struct {
			Name   string
			Config struct {
				User   string
				Labels map[string]string
			}
			HostConfig struct {
				ReadonlyRootfs, Privileged   bool
				CapDrop, CapAdd, SecurityOpt []string
				Memory, PidsLimit            int64
				LogConfig                    struct{ Config map[string]string }
				PortBindings                 map[string][]struct{ HostIP, HostPort string }
			}
			Mounts []struct{ Type, Name, Destination string }
		}
		require.NoError(t, json.Unmarshal([]byte(raw), &all))
		c := all[0]
		h := c.HostConfig
		require.True(t, h.ReadonlyRootfs && !h.Privileged, c.Name)
		require.Equal(t, []string{"ALL"}, h.CapDrop, c.Name)
		require.Empty(t, h.CapAdd, c.Name)
		require.Contains(t, h.SecurityOpt, "no-new-privileges:true", c.Name)
		require.True(t, h.Memory > 0 && h.PidsLimit > 0, "limits of %s", c.Name)
		require.NotEmpty(t, h.LogConfig.Config["max-size"], c.Name)
		require.NotContains(t, []string{"", "0", "root"}, strings.Split(c.Config.User, ":")[0], c.Name)
		for port, where := range h.PortBindings {
			for _, b := range where {
				published[c.Config.Labels["com.docker.compose.service"]+" "+port] = b.HostIP
			}
		}
		for _, m := range c.Mounts { // volumes without a name would be left behind
			require.False(t, m.Type == "volume" && len(m.Name) == 64, "%s: %s is a volume without a name", c.Name, m.Destination)
		}
	}
	require.Equal(t, want, published)

	for name, secret := range s.secrets {
		config := s.stack("config")
		require.NotContains(t, config, secret, name)
	}
	for _, service := range []string{"influxdb", "nginx"} {
		out := s.stack("exec", "-T", service, "sh", "-c", "grep -E 'CapEff|NoNewPrivs' /proc/1/status; cat /proc/1/environ | tr '\\0' '\\n'")
		require.Regexp(t, `CapEff:\s+0000000000000000`, out, service)
		require.Regexp(t, `NoNewPrivs:\s+1`, out, service)
		for name, secret := range s.secrets {
			require.NotContains(t, out, secret, name)
		}
	}
	// Each sees its own secrets only.
	require.Equal(t, "htpasswd", s.stack("exec", "-T", "nginx", "ls", "/secrets"))
	out, err := s.try(nil, s.compose[0], append(s.compose[1:], "exec", "-T", "influxdb", "ls", "/secrets")...)
	require.Error(t, err, out)
}

// web checks what nginx exposes of the other services.
func (s *stackRun) web() {
	t := s.t
	t.Helper()
	for path, want := range map[string]int{
		"/": 200, "/metric_plugin/v1/ready": 200, "/metrics": 404, "/metric_plugin/v1/broadcast_want": 404, "/debug/pprof/": 404, "/api/v0/id": 404,
	} {
		status, body, err := s.get("localhost:8080", path)
		require.NoError(t, err)
		require.Equal(t, want, status, "%s: %s", path, body)
	}
	status, body, err := s.get("evil.example", "/metric_plugin/v1/ready")
	require.NoError(t, err)
	require.Equal(t, 403, status, string(body))
	status, _, err = s.get("influxdb.localhost:8080", "/api/v2/write")
	require.NoError(t, err)
	require.Equal(t, 404, status)
	status, body, err = s.get("influxdb.localhost:8080", "/health")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Contains(t, string(body), "ready for queries")
}
