//go:build stack || all

package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// engine is a Docker engine of the test's own. It and all its containers are in
// namespaces of processes, mounts and networks that end with it, however the
// test ends: bridges, rules of the packet filter and mounts go with them, and
// nothing in it can reach more than loopback. Images and what builds keep stay
// in the tester's cache.
type engine struct {
	t       *testing.T
	cmd     *exec.Cmd
	dir     string // of this run: socket, log
	data    string // of all runs: images
	group   string // of processes, for the kernel's limits
	netns   *os.File
	compose []string // the command and its first arguments
	env     []string
	ended   sync.Once
}

// cached is a path in the tester's cache, which outlives the test.
func cached(t *testing.T, name ...string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(append([]string{cache, "ipfsmon"}, name...)...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	return path
}

// startEngine runs dockerd until the end of the test. It needs root.
func startEngine(t *testing.T) *engine {
	t.Helper()
	require.Zero(t, os.Getuid(), "a Docker engine needs root")
	e := &engine{t: t, dir: t.TempDir(), data: cached(t, "docker", "lock")}
	lock, err := os.Create(e.data)
	require.NoError(t, err)
	t.Cleanup(func() { lock.Close() })
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)) // one run at a time
	e.data = filepath.Join(filepath.Dir(e.data), "data")

	// A socket's path may have no more than 108 bytes.
	socket := filepath.Join(e.dir, "d.sock")
	e.group = fmt.Sprintf("ipfsmon-test-%d", os.Getpid())
	log, err := os.Create(filepath.Join(e.dir, "dockerd.log"))
	require.NoError(t, err)
	t.Cleanup(func() { log.Close() })
	e.cmd = exec.Command("sh", "-ec", `mount --make-rprivate / && mount -t proc proc /proc && ip link set lo up && exec dockerd "$@"`, "dockerd",
		"--host", "unix://"+socket, "--data-root", e.data, "--exec-root", filepath.Join(e.dir, "exec"), "--pidfile", filepath.Join(e.dir, "pid"),
		"--bridge", "none", "--cgroup-parent", e.group)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The signal comes when the thread ends that started the process.
	started := make(chan error)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	go func() {
		runtime.LockOSThread()
		started <- e.cmd.Start()
		<-release
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		e.end()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("dockerd's last words:\n%s", b[max(0, len(b)-4000):])
		}
	})
	e.netns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", e.cmd.Process.Pid))
	require.NoError(t, err)
	t.Cleanup(func() { e.netns.Close() })

	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-interrupt
		e.end()
		_ = os.RemoveAll(filepath.Dir(e.dir)) // what t.TempDir would do
		os.Exit(1)
	}()

	e.env = append(os.Environ(), "DOCKER_HOST=unix://"+socket, "DOCKER_BUILDKIT=1", "COMPOSE_PROJECT_NAME=ipfsmontest")
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := e.try(nil, "docker", "version"); err == nil {
			break
		}
		require.True(t, time.Now().Before(deadline), "dockerd does not answer")
	}
	return e
}

// end kills the first process of the namespace, and with it all others.
func (e *engine) end() {
	e.ended.Do(func() {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		for _, pattern := range []string{"/sys/fs/cgroup/" + e.group, "/sys/fs/cgroup/*/" + e.group} {
			dirs, _ := filepath.Glob(pattern) // it is a good pattern
			for _, d := range dirs {
				removeCgroup(d)
			}
		}
	})
}

// removeCgroup removes an empty group and those in it. Processes that were just
// killed may still be there for a moment.
func removeCgroup(dir string) {
	sub, _ := filepath.Glob(filepath.Join(dir, "*/"))
	for _, d := range sub {
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			removeCgroup(d)
		}
	}
	for range 50 {
		if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// program is Debian's docker, whose build needs no plug-in.
func program(name string) string {
	if name == "docker" {
		return "/usr/bin/docker"
	}
	return name
}

// try runs a command against the engine.
func (e *engine) try(stdin io.Reader, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(name), args...)
	cmd.Env, cmd.Dir, cmd.Stdin = e.env, "../..", stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s\n%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// docker runs a docker command and returns what it printed.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	out, err := e.try(nil, "docker", args...)
	require.NoError(e.t, err)
	return out
}

// stack runs a compose command on the stack and returns what it printed.
func (e *engine) stack(args ...string) string {
	e.t.Helper()
	all := append(append([]string{}, e.compose[1:]...), args...)
	out, err := e.try(nil, e.compose[0], all...)
	require.NoError(e.t, err)
	return out
}

// inside calls f on a thread that is in the engine's network.
func (e *engine) inside(f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and is not used
		// for anything else in the wrong network.
		runtime.LockOSThread()
		if err := unix.Setns(int(e.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// client is an HTTP client in the engine's network.
func (e *engine) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = e.inside(func() (err error) {
				c, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
				return err
			})
			return c, err
		},
	}}
}

// listen opens a port in the engine's network.
func (e *engine) listen() net.Listener {
	e.t.Helper()
	var l net.Listener
	require.NoError(e.t, e.inside(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}))
	return l
}

// image reports whether one of this name exists.
func (e *engine) image(name string) bool {
	_, err := e.try(nil, "docker", "image", "inspect", name)
	return err == nil
}

// importTar makes an image of what tar packs with the arguments.
func (e *engine) importTar(image string, change string, args ...string) {
	e.t.Helper()
	pack := exec.Command("tar", append([]string{"-c"}, args...)...)
	r, err := pack.StdoutPipe()
	require.NoError(e.t, err)
	require.NoError(e.t, pack.Start())
	_, err = e.try(r, "docker", "import", "-c", change, "-", image)
	require.NoError(e.t, err)
	require.NoError(e.t, pack.Wait())
}

// The images of the stack, built without a registry.
const (
	debianImage = "ipfsmon-test/base:3" // another number with other packages
	suite       = "bookworm"
)

// images builds what the stack runs: on Debian's own packages, this machine's
// Go, and the modules in its cache.
func (e *engine) images() {
	t := e.t
	t.Helper()
	if !e.image(debianImage) {
		begun := time.Now()
		root := filepath.Join(e.dir, "root")
		out, err := exec.Command("debootstrap", "--variant=minbase", "--include=ca-certificates,wget,nginx-light,libnginx-mod-stream",
			suite, root, "http://deb.debian.org/debian").CombinedOutput()
		require.NoError(t, err, string(out[max(0, len(out)-4000):]))
		installServers(t, root)
		e.importTar(debianImage, "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"-C", root, "--exclude=./var/cache", "--exclude=./var/lib/apt/lists", ".")
		require.NoError(t, os.RemoveAll(root))
		t.Logf("the base image, with PostgreSQL and RabbitMQ: built in %v", time.Since(begun).Round(time.Second))
	}
	goRoot, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE").Output()
	require.NoError(t, err)
	paths := strings.Fields(string(goRoot))
	goImage := "ipfsmon-test/golang:" + strings.TrimPrefix(runtime.Version(), "go")
	if !e.image(goImage) {
		root := filepath.Join(e.dir, "go")
		require.NoError(t, os.MkdirAll(root, 0o755))
		e.importTar("ipfsmon-test/go-alone", "ENV GO=1", "-C", filepath.Dir(paths[0]), filepath.Base(paths[0]))
		e.build("", goImage, "FROM "+debianImage+"\nCOPY --from=ipfsmon-test/go-alone /"+filepath.Base(paths[0])+" /usr/local/go\nENV PATH=/usr/local/go/bin:/usr/bin:/bin\n")
		e.docker("image", "rm", "ipfsmon-test/go-alone")
	}

	// This machine's modules are the proxy: go.sum verifies them.
	l := e.listen()
	proxy := &http.Server{Handler: http.FileServer(http.Dir(filepath.Join(paths[1], "cache", "download"))), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		_ = proxy.Serve(l) // until it is closed
		close(served)
	}()
	defer func() {
		proxy.Close()
		<-served
	}()
	begun := time.Now()
	e.docker("build", "-q", "--network", "host", "-f", "docker/Dockerfile", "--build-arg", "GO_IMAGE="+goImage,
		"--build-arg", "GOPROXY=http://"+l.Addr().String(), "--build-arg", "GOSUMDB=off", "-t", "ipfsmon-test/ipfsmon", ".")
	t.Logf("the node's image: %s bytes, built in %v", e.docker("image", "inspect", "-f", "{{.Size}}", "ipfsmon-test/ipfsmon"), time.Since(begun).Round(time.Second))

	context := filepath.Join(e.dir, "influxdb")
	require.NoError(t, os.MkdirAll(context, 0o755))
	for from, to := range map[string]string{harness.BuildInfluxDB2(t): "influxd", "../../docker/test/influx": "influx"} {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(context, to), b, 0o755))
	}
	e.docker("build", "-q", "--network", "host", "-f", "docker/test/influxdb.Dockerfile", "--build-arg", "BASE="+debianImage, "-t", "ipfsmon-test/influxdb", context)
	e.docker("build", "-q", "--network", "host", "-f", "docker/test/postgres.Dockerfile", "--build-arg", "BASE="+debianImage, "-t", "ipfsmon-test/postgres", "docker/test")
	e.docker("build", "-q", "--network", "host", "-f", "docker/test/rabbitmq.Dockerfile", "--build-arg", "BASE="+debianImage, "-t", "ipfsmon-test/rabbitmq", "docker/test")
	e.docker("image", "prune", "-f")
	e.docker("builder", "prune", "-f", "--keep-storage", "8GB")
}

// installServers adds PostgreSQL and RabbitMQ to a Debian in a folder. They are not among
// debootstrap's packages, since the packages make a cluster and start it there
// unless these files say no.
func installServers(t *testing.T, root string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(root, "usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/postgresql-common"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/postgresql-common/createcluster.conf"), []byte("create_main_cluster = false\n"), 0o644))
	script := `apt-get update -q && apt-get install -qy --no-install-recommends -o Dpkg::Options::=--force-confold postgresql rabbitmq-server && apt-get clean && rm /usr/sbin/policy-rc.d`
	install := exec.Command("chroot", root, "sh", "-ec", script)
	install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := install.CombinedOutput()
	require.NoError(t, err, string(out[max(0, len(out)-4000):]))
}

// build builds an image of a Dockerfile's text.
func (e *engine) build(context, image, text string) {
	e.t.Helper()
	if context == "" {
		context = filepath.Join(e.dir, "empty")
		require.NoError(e.t, os.MkdirAll(context, 0o755))
	}
	file := filepath.Join(e.dir, "Dockerfile")
	require.NoError(e.t, os.WriteFile(file, []byte(text), 0o644))
	e.docker("build", "-q", "--network", "host", "-f", file, "-t", image, context)
}
