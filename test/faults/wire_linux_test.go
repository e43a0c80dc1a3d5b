//go:build faults || all

package faults

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// The two ends of the wire.
const (
	nearAddress = "10.77.0.1"
	farAddress  = "10.77.0.2"
)

// wire carries the packets of two network namespaces, and loses and delays
// them. (Not every kernel has tc's netem; each has TUN devices.)
type wire struct {
	ends  [2]*os.File
	loss  atomic.Int64 // packets of a thousand
	delay atomic.Int64 // one way, nanoseconds
	lost  atomic.Int64
	sent  atomic.Int64
	wg    sync.WaitGroup
}

// end makes a TUN device in the network namespace of the calling thread.
func (w *wire) end(t *testing.T, i int, address string) {
	t.Helper()
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	require.NoError(t, err, "network namespaces with our own wire need root")
	var request struct { // struct ifreq, linux/if.h
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "wire")
	request.flags = 0x0001 | 0x1000 // IFF_TUN, IFF_NO_PI
	const setInterface = 0x400454ca // TUNSETIFF
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), setInterface, uintptr(unsafe.Pointer(&request)))
	require.Zero(t, errno, errno.Error())
	w.ends[i] = os.NewFile(uintptr(fd), "wire")
	for _, args := range []string{"link set lo up", "addr add " + address + "/24 dev wire", "link set wire up"} {
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", args, out)
	}
}

// carry takes packets from one end to the other until the ends are closed.
func (w *wire) carry(from, to *os.File) {
	type packet struct {
		data []byte
		due  time.Time
	}
	flying := make(chan packet, 1000) // a queue of so many, as network cards have one
	w.wg.Go(func() {
		for p := range flying {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				continue // the end is closed: so is the other one soon
			}
		}
	})
	w.wg.Go(func() {
		defer close(flying)
		b := make([]byte, 65536)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			w.sent.Add(1)
			if rand.Int64N(1000) < w.loss.Load() {
				w.lost.Add(1)
				continue
			}
			select {
			case flying <- packet{append([]byte(nil), b[:n]...), time.Now().Add(time.Duration(w.delay.Load()))}:
			default:
				w.lost.Add(1)
			}
		}
	})
}

func (w *wire) close() {
	for _, f := range w.ends {
		f.Close()
	}
	w.wg.Wait()
}

// TestFaultR14Wire has the sink in one network namespace and a real InfluxDB
// 1.6.7 in another, with a wire between that loses and delays packets, breaks,
// and is repaired: every point is there once.
func TestFaultR14Wire(t *testing.T) {
	if os.Getenv("FAULT_WIRE") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "FAULT_WIRE=1", "IPFSMON_BIN="+harness.Bin)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		t.Logf("%s", out)
		return
	}
	program, err := exec.LookPath("influxd")
	require.NoError(t, err, "InfluxDB 1.6.7 is missing; on Debian: apt-get install --no-install-recommends influxdb")
	dir := t.TempDir()
	conf := filepath.Join(dir, "influxdb.conf")
	require.NoError(t, os.WriteFile(conf, []byte(strings.NewReplacer("DIR", dir, "ADDRESS", farAddress).Replace(`
reporting-disabled = true
reporting-enabled = false
bind-address = "127.0.0.1:0"
[meta]
  dir = "DIR/meta"
[data]
  dir = "DIR/data"
  wal-dir = "DIR/wal"
  index-version = "tsi1"
[http]
  bind-address = "ADDRESS:8086"
  log-enabled = false
[monitor]
  store-enabled = false
`)), 0o600))

	var w wire
	var server *harness.Process
	far := make(chan struct{})
	go func() { // its thread is of the other namespace, and ends with it
		defer close(far)
		runtime.LockOSThread()
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		w.end(t, 1, farAddress)
		server, err = harness.LaunchProcess(harness.WithoutInflux(dir), program, "-config", conf)
	}()
	<-far
	require.NoError(t, err)
	require.False(t, t.Failed())
	server.T = t
	defer server.Kill()
	w.end(t, 0, nearAddress)
	defer w.close()
	w.carry(w.ends[0], w.ends[1])
	w.carry(w.ends[1], w.ends[0])
	server.Find(`(Listening on HTTP)`)

	phase := 4 * time.Second
	if long() {
		phase = time.Minute
	}
	no := false
	f := &faultFlow{t: t, home: dir, cfg: influx.Config{URL: "http://" + farAddress + ":8086", SpoolDir: filepath.Join(dir, "spool"), BatchSize: 500,
		FlushInterval: "50ms", Timeout: "5s", Rollups: &no}}
	f.during(2000, func(s *influx.Sink) {
		more := func(n uint64, what string) {
			t.Helper()
			from := s.Stats().Stored
			require.Eventually(t, func() bool { return s.Stats().Stored > from+n }, 2*time.Minute, 10*time.Millisecond, "%s: %+v", what, s.Stats())
		}
		more(2000, "a good wire")
		w.loss.Store(30)
		w.delay.Store(int64(25 * time.Millisecond))
		time.Sleep(phase)
		more(1000, "3 % lost, 50 ms there and back")
		w.loss.Store(200)
		time.Sleep(phase)
		w.loss.Store(1000)
		time.Sleep(phase)
		require.Eventually(t, func() bool { return s.Stats().Failing }, time.Minute, 10*time.Millisecond, "%+v", s.Stats())
		w.loss.Store(10)
		more(1000, "repaired")
		w.loss.Store(0)
		f.delivered(s, 4*time.Minute)
	})
	f.during(0, func(s *influx.Sink) {
		require.Eventually(t, func() bool { return s.Stats().Queued == 0 }, 2*time.Minute, 10*time.Millisecond, "%+v", s.Stats())
	})
	got, err := harness.InfluxQL(f.cfg.URL, "SELECT count(cid) FROM history.wants")
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"": float64(f.sent)}, got)
	t.Logf("%d points; of %d packets %d were lost", f.sent, w.sent.Load(), w.lost.Load())
}
