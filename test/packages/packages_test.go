//go:build packages || all

package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// pack makes the packages of the program under test with a version, in a folder; variables are
// further ones of make.
func pack(t *testing.T, folder, version string, variables ...string) {
	t.Helper()
	bin, err := filepath.Abs(harness.Bin)
	require.NoError(t, err)
	cmd := exec.Command("make", append([]string{"--no-print-directory", "packages", "PROGRAM=" + bin, "RUNS=" + bin, "VERSION=" + version, "OUT=" + folder}, variables...)...)
	cmd.Dir = harness.Root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// one returns the file that a pattern matches.
func one(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, files, 1, pattern)
	return files[0]
}

// TestPackages installs, starts, upgrades and removes the .deb on a Debian with systemd: the
// service runs as its own user under the limits of its unit, is ready for systemd when the node
// is, and keeps its settings, its node and its history through the upgrade; a removal leaves the
// node's data, and nothing else. The manual can be read, and each shell completes commands and
// flags.
func TestPackages(t *testing.T) {
	folder := t.TempDir()
	pack(t, folder, "0.1.9")
	old := filepath.Base(one(t, filepath.Join(folder, "*0.1.9*.deb")))
	pack(t, folder, "0.2.0")
	deb := filepath.Base(one(t, filepath.Join(folder, "*0.2.0*.deb")))
	checkRPM(t, one(t, filepath.Join(folder, "*0.2.0*.rpm")))

	m := start(t, folder)
	m.run("dpkg", "-i", "/mnt/packages/"+old)
	require.Contains(t, m.run("dpkg", "-s", "ipfsmon"), "Version: 0.1.9")
	_, err := m.try("systemctl", "is-enabled", "ipfsmon")
	require.Error(t, err, "an installation starts and enables nothing")
	require.Equal(t, "640 root ipfsmon", strings.TrimSpace(m.run("stat", "-c", "%a %U %G", "/etc/ipfsmon/ipfsmon.json")))
	checkShells(t, m)
	checkManual(t, m)

	// The node stays on this machine's loopback interface.
	m.run("sh", "-ec", `mkdir -p /etc/systemd/system/ipfsmon.service.d && cat > /etc/systemd/system/ipfsmon.service.d/isolated.conf <<END
[Service]
ExecStart=
ExecStart=/usr/bin/ipfsmon run --migrate --isolated --interval 1
END
echo '{"monitor": {"MonitorName": "packaged"}}' > /etc/ipfsmon/ipfsmon.json
systemctl daemon-reload`)
	begun := time.Now()
	if out, err := m.try("systemctl", "enable", "--now", "ipfsmon"); err != nil {
		log, _ := m.try("journalctl", "-u", "ipfsmon", "--no-pager")
		t.Fatalf("%s%s", out, log)
	}
	t.Logf("started in %v", time.Since(begun).Round(time.Millisecond))
	ready := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := m.try("ipfsmon", "health", "--ready", "127.0.0.1:8432")
			return err == nil
		}, time.Minute, 200*time.Millisecond, "the node is not ready")
	}
	ready()
	show := func(property string) string {
		return strings.TrimSpace(m.run("systemctl", "show", "-P", property, "ipfsmon"))
	}
	require.Equal(t, "notify running", show("Type")+" "+show("SubState"))
	require.Equal(t, "131072", show("LimitNOFILE"))
	processes := m.run("ps", "-o", "user:20=,args=", "-C", "ipfsmon")
	require.Len(t, strings.Split(strings.TrimSpace(processes), "\n"), 2, processes) // the node and its InfluxDB
	for line := range strings.Lines(processes) {
		require.Regexp(t, "^ipfsmon ", line)
	}
	require.Equal(t, "700 ipfsmon", strings.TrimSpace(m.run("stat", "-c", "%a %U", "/var/lib/ipfsmon")))
	status := m.run("cat", "/proc/"+show("MainPID")+"/status")
	require.Regexp(t, `NoNewPrivs:\s+1`, status)
	require.Regexp(t, `Seccomp:\s+2`, status)
	require.Regexp(t, `CapBnd:\s+0+\n`, status)

	asked := func(query string) string {
		t.Helper()
		return m.run("setpriv", "--reuid=ipfsmon", "--regid=ipfsmon", "--clear-groups", "env", "HOME=/var/lib/ipfsmon", "IPFS_PATH=/var/lib/ipfsmon/ipfs",
			"ipfsmon", "query", "--format", "csv", query)
	}
	const first = "SELECT first(known) FROM totals.peers WHERE node = 'packaged'"
	require.Eventually(t, func() bool { return strings.Contains(asked(first), "\npeers,") }, time.Minute, time.Second, "no history")
	before := asked(first)
	id := m.run("cat", "/var/lib/ipfsmon/ipfs/config")

	// The upgrade restarts the service, and keeps what the operator wrote.
	pid := show("MainPID")
	m.run("dpkg", "-i", "/mnt/packages/"+deb)
	require.Contains(t, m.run("dpkg", "-s", "ipfsmon"), "Version: 0.2.0")
	require.NotEqual(t, pid, show("MainPID"))
	ready()
	require.Equal(t, before, asked(first), "history was lost")
	require.Equal(t, id, m.run("cat", "/var/lib/ipfsmon/ipfs/config"))
	require.Contains(t, m.run("cat", "/etc/ipfsmon/ipfsmon.json"), "packaged")

	m.run("dpkg", "-r", "ipfsmon")
	_, err = m.try("systemctl", "is-active", "ipfsmon")
	require.Error(t, err)
	require.Empty(t, strings.TrimSpace(m.run("sh", "-c", "ps -o args= -C ipfsmon || true")))
	m.run("dpkg", "-P", "ipfsmon")
	left := m.run("sh", "-c", "find / -xdev -name '*ipfsmon*' -not -path '/proc/*' -not -path '/mnt/*' -not -path '/var/log/*' -not -path '/var/cache/man/*' -not -path '/var/lib/ipfsmon*' -not -path '/tmp/*' -not -path '/var/tmp/*'")
	require.Equal(t, "/etc/systemd/system/ipfsmon.service.d\n", left, "a purge leaves files")
	m.run("test", "-f", "/var/lib/ipfsmon/ipfs/config")
	require.NotContains(t, m.run("journalctl", "-u", "ipfsmon", "--no-pager"), "panic")
}

// checkRPM reads an .rpm with rpm's own program.
func checkRPM(t *testing.T, file string) {
	t.Helper()
	rpm := func(args ...string) string {
		out, err := exec.Command("rpm", append([]string{"--nosignature"}, append(args, file)...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	files := rpm("-qlp")
	for _, want := range []string{"/usr/bin/ipfsmon", "/usr/lib/systemd/system/ipfsmon.service", "/etc/ipfsmon/ipfsmon.json", "/usr/share/man/man1/ipfsmon-run.1",
		"/usr/share/zsh/site-functions/_ipfsmon", "/usr/share/bash-completion/completions/ipfsmon"} {
		require.Contains(t, files, want+"\n")
	}
	require.Equal(t, "/etc/ipfsmon/ipfsmon.json\n", rpm("-qcp"))
	require.Regexp(t, `Version\s*: 0\.2\.0\n`, rpm("-qip"))
	require.Contains(t, rpm("-qp", "--scripts"), "systemctl disable --now")
}

// checkShells completes commands, flags and a path in fish and zsh. cmd/ipfsmon tries bash.
func checkShells(t *testing.T, m *machine) {
	t.Helper()
	const zsh = `compdef() {}; _describe() { print -rl -- ${(P)@[-1]}; }; _files() { print /etc/hostname; }
. /usr/share/zsh/vendor-completions/_ipfsmon; words=(${(s: :)1}); CURRENT=$#words; _ipfsmon`
	for _, c := range []struct{ line, want string }{
		{"ipfsmon introsp", "introspect"}, {"ipfsmon store back", "backup"}, {"ipfsmon run --name tail --isol", "--isolated"},
		{"ipfsmon tail --type want_have --count 5 --direc", "--direction"}, {"ipfsmon tail --token-file /etc/hostn", "/etc/hostname"},
	} {
		require.Contains(t, m.run("fish", "-c", "complete -C '"+c.line+"'"), c.want, "fish: %s", c.line)
		require.Contains(t, m.run("zsh", "-fc", zsh, "zsh", c.line), c.want, "zsh: %s", c.line)
	}
	require.Equal(t, "_ipfsmon\n", m.run("zsh", "-fc", "autoload -U compinit; compinit -D -u; print $_comps[ipfsmon]"))
	m.run("bash", "-n", "/usr/share/bash-completion/completions/ipfsmon")
}

// checkManual: man reads each page without a complaint.
func checkManual(t *testing.T, m *machine) {
	t.Helper()
	pages := strings.Fields(m.run("sh", "-c", "ls /usr/share/man/man1/ipfsmon*"))
	require.Greater(t, len(pages), 15)
	for _, page := range pages {
		require.Empty(t, m.run("sh", "-c", `groff -Kutf8 -Tutf8 -man -ww "$1" 2>&1 >/dev/null`, "sh", page), page)
	}
	require.Regexp(t, regexp.MustCompile(`(?s)NAME.*run a monitored node.*--isolated`), m.run("sh", "-c", "man -P cat ipfsmon-run | col -b"))
}

// TestPackagesAreReproducible: the same files make the same packages, byte by byte. The program is
// a small one: make check-release compares whole releases.
func TestPackagesAreReproducible(t *testing.T) {
	folders := []string{t.TempDir(), t.TempDir()}
	for _, folder := range folders {
		pack(t, folder, "0.2.0", "PROGRAM=/usr/bin/true", "SOURCE_DATE_EPOCH=1795712218")
	}
	for _, kind := range []string{"*.deb", "*.rpm"} {
		first, err := os.ReadFile(one(t, filepath.Join(folders[0], kind)))
		require.NoError(t, err)
		second, err := os.ReadFile(one(t, filepath.Join(folders[1], kind)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(first, second), kind)
	}
}

// TestUnit: systemd finds nothing wrong with the unit, and little that it leaves open.
func TestUnit(t *testing.T) {
	unit := filepath.Join(t.TempDir(), "ipfsmon.service")
	text, err := os.ReadFile(harness.Root + "/packaging/ipfsmon.service")
	require.NoError(t, err)
	bin, err := filepath.Abs(harness.Bin)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/bin/ipfsmon", bin)), 0o644))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "ipfsmon.service", string(out))
	out, err = exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit).CombinedOutput()
	require.NoError(t, err, string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
}
