//go:build packages || all

package packages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// What the machine is made of: another number with other packages.
const (
	baseName = "debian-bookworm-1"
	suite    = "bookworm"
	include  = "systemd,dbus,man-db,groff,fish,zsh"
)

// boot starts systemd on an overlay of the base, in namespaces that end with it: whatever it
// changes or mounts is gone then. It gets groups of processes of its own, and cannot change the
// kernel's settings. In a chroot the unit could not have namespaces of users.
const boot = `
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
ip link set lo up
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	mount -t cgroup2 cgroup2 sys/fs/cgroup
else
	mount -t tmpfs tmpfs sys/fs/cgroup
	mkdir sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
mount -t tmpfs tmpfs run
mount --rbind /dev dev
mkdir -p mnt/packages
mount --bind "$3" mnt/packages
for unit in systemd-udevd.service systemd-modules-load.service console-getty.service getty.target; do ln -s /dev/null "etc/systemd/system/$unit"; done
mkdir mnt/old
pivot_root . mnt/old
exec chroot . sh -ec "umount -l /mnt/old; exec /usr/bin/env -i container=lxc /lib/systemd/systemd --log-target=console --show-status=no"`

// machine is a Debian that has started.
type machine struct {
	t   *testing.T
	pid int // of its systemd, seen from here
	out *logtest.Buffer
}

// base returns a Debian's files, which the tester's cache keeps.
func base(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "ipfsmon", baseName)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	begun := time.Now()
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	require.NoError(t, err)
	defer os.RemoveAll(tmp)
	out, err := exec.Command("debootstrap", "--variant=minbase", "--include="+include, suite, tmp, "http://deb.debian.org/debian").CombinedOutput()
	require.NoError(t, err, string(out[max(0, len(out)-4000):]))
	require.NoError(t, os.RemoveAll(filepath.Join(tmp, "var/cache/apt/archives")))
	require.NoError(t, os.Chmod(tmp, 0o755))
	require.NoError(t, os.Rename(tmp, dir))
	t.Logf("%s: made in %v", dir, time.Since(begun).Round(time.Second))
	return dir
}

// start boots a machine that has a folder at /mnt/packages.
func start(t *testing.T, folder string) *machine {
	t.Helper()
	require.Zero(t, os.Getuid(), "a machine of its own needs root")
	m := &machine{t: t, out: &logtest.Buffer{}}
	group := fmt.Sprintf("ipfsmon-packages-%d", os.Getpid())
	var groups []string
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(top, "cgroup.procs")); err == nil {
			groups = append(groups, filepath.Join(top, group))
			require.NoError(t, os.Mkdir(filepath.Join(top, group), 0o755))
		}
	}
	require.NotEmpty(t, groups, "no groups of processes that systemd could use")
	join := ""
	for _, g := range groups {
		join += "echo $$ > " + g + "/cgroup.procs; "
	}
	cmd := exec.Command("sh", "-ec", join+`exec unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child sh -ec "$1" sh "$2" "$3" "$4"`,
		"sh", boot, base(t), t.TempDir(), folder)
	cmd.Stdout, cmd.Stderr = m.out, m.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the machine's console:\n%s", m.out)
		}
		for _, g := range groups {
			for range 100 { // those that were killed may be there for a moment
				_ = exec.Command("find", g, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
				if _, err := os.Stat(g); os.IsNotExist(err) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
	require.Eventually(t, func() bool {
		// unshare's child is the machine's first process.
		b, _ := exec.Command("pgrep", "-P", fmt.Sprint(cmd.Process.Pid)).Output() // nothing yet
		if _, err := fmt.Sscan(string(b), &m.pid); err != nil {
			return false
		}
		out, _ := m.try("systemctl", "is-system-running")
		return strings.TrimSpace(out) == "running" || strings.TrimSpace(out) == "degraded"
	}, time.Minute, 200*time.Millisecond, "systemd does not start: %s", m.out)
	return m
}

// try runs a command in the machine and returns both its outputs.
func (m *machine) try(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", fmt.Sprint(m.pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
		"--root", "--wd", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}, command...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try of a command that succeeds.
func (m *machine) run(command ...string) string {
	m.t.Helper()
	out, err := m.try(command...)
	require.NoError(m.t, err, "%v: %s", command, out)
	return out
}
