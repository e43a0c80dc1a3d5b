package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// freeUDP returns an address that nobody listens on.
func freeUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// What is sent by UDP arrives in the embedded server, both kinds at their own
// listeners.
func TestUDPIntoStore(t *testing.T) {
	history, totals := freeUDP(t), freeUDP(t)
	data := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- embedded.Serve(ctx, embedded.ServerConfig{Dir: embedded.StoreDir(data), Listen: "127.0.0.1:0", LogTo: io.Discard, Ready: func(a string) { ready <- a },
			UDP: []embedded.UDPListener{{Listen: history, Database: client.DefaultDatabase, Policy: "history"}, {Listen: totals, Database: client.DefaultDatabase, Policy: "totals"}}})
	}()
	defer func() { cancel(); <-done }()
	var cfg client.Config
	select {
	case a := <-ready:
		cfg.URL = "http://" + a
		cfg.Username, cfg.PasswordFile = embedded.Login(data)
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	if err := client.Setup(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	events := append(influxtest.Messages(20_000), influxtest.Events()...)
	want := map[string]int{}
	e := testEncoder()
	e.SetDHTHistory()
	for _, ev := range events {
		ev.Time = time.Now().UnixNano()
		for _, p := range influxtest.Decode(t, influxtest.Encode(e, ev)) {
			want[p.Name]++
		}
	}
	_, port, _ := net.SplitHostPort(totals)
	st, err := publish(t, client.Config{URL: "udp://" + history + "?totals=" + port, FlushInterval: "10ms", UDPRate: 20_000, HistoryDHT: true}, events)
	if err != nil || st.Stored != st.Accepted || st.Dropped != 0 || st.Rejected != 0 || st.Missed != 0 {
		t.Fatalf("%v, %+v", err, st)
	}
	for _, m := range schema.All {
		if m.OfRollups() {
			continue
		}
		statement := fmt.Sprintf("SELECT count(%s) FROM %s.%s", m.Fields[0].Key, m.Kind, m.Name)
		got := ""
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if got = influxtest.Ask(t, cfg, statement, false); strings.HasSuffix(got, fmt.Sprintf(",%d\n", want[m.Name])) {
				break
			}
		}
		if !strings.HasSuffix(got, fmt.Sprintf(",%d\n", want[m.Name])) {
			t.Errorf("%s: counted %q, want %d", m.Name, got, want[m.Name])
		}
	}
}

// Datagrams hold whole lines, fit into a packet and are sent at the configured rate.
func TestDatagrams(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.UDPConn).SetReadBuffer(4 << 20) // as much as the system permits
	points, largest := make(chan int, 1), 0
	go func() {
		n, buf := 0, make([]byte, 1<<16)
		for {
			k, _, err := c.ReadFrom(buf)
			if err != nil {
				points <- n
				return
			}
			largest = max(largest, k)
			d := buf[:k]
			n += bytes.Count(d, []byte{'\n'})
			if !bytes.HasSuffix(d, []byte{'\n'}) || !bytes.HasPrefix(d, []byte("wants,")) {
				t.Errorf("a datagram of other than whole lines: %q", d)
			}
		}
	}()
	const n, rate = 4000, 8000
	start := time.Now()
	st, err := publish(t, client.Config{URL: "udp://" + c.LocalAddr().String(), UDPRate: rate, FlushInterval: "10ms"}, influxtest.Messages(n))
	took := time.Since(start)
	if err != nil || st.Stored != n {
		t.Fatalf("%v, %+v", err, st)
	}
	time.Sleep(100 * time.Millisecond)
	c.Close()
	if got := <-points; got != n || largest > maxDatagram || largest < maxDatagram/2 {
		t.Errorf("%d points in datagrams of up to %d bytes, want %d and at most %d", got, largest, n, maxDatagram)
	}
	if took < time.Second*n/rate*9/10 {
		t.Errorf("%d points in %v, want no more than %d a second", n, took, rate)
	}
}

// No listener: losses that the system reports are counted, and nothing hangs.
func TestUDPToNobody(t *testing.T) {
	st, err := publishOver(t, client.Config{URL: "udp://" + freeUDP(t), FlushInterval: "10ms"}, influxtest.Messages(2000), 300*time.Millisecond, 5*time.Second)
	if err != nil || st.Dropped == 0 || st.Stored+st.Dropped != st.Accepted || !strings.Contains(st.LastError, "refused") {
		t.Errorf("%v, %+v, want points dropped because the connection is refused", err, st)
	}
	// A point that fits into no datagram is refused, the others are not.
	long := event.Text(strings.Repeat(`"`, event.MaxAddrText))
	id := &event.Event{Kind: event.KindIdentify, Identify: &event.Identify{Agent: long[:event.MaxAgentText], ProtocolVersion: long[:128], ObservedAddr: long}}
	st, err = publish(t, client.Config{URL: "udp://" + freeUDP(t), FlushInterval: "10ms"}, append(influxtest.Messages(1), id))
	if err != nil || st.Rejected != 1 || st.Accepted != 2 {
		t.Errorf("%v, %+v, want the long one rejected", err, st)
	}
}

func TestFileDestination(t *testing.T) {
	path := filepath.Join(t.TempDir(), "points.lp")
	cfg := client.Config{URL: "file://" + path, FlushInterval: "10ms"}
	for range 2 { // the second run appends
		if st, err := publish(t, cfg, influxtest.Events()); err != nil || st.Stored != st.Accepted || st.Dropped != 0 {
			t.Fatalf("%v, %+v", err, st)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(influxtest.Decode(t, string(b))), 2*len(influxtest.Decode(t, influxtest.Encode(testEncoder(), influxtest.Events()...))); got != want {
		t.Errorf("%d points in the file, want %d", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info, err)
	}
	// A folder, and a pipe that nobody reads: counted, not waited for.
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe, "/dev/full", filepath.Join(dir, "no", "such")} {
		if st, err := publish(t, client.Config{URL: "file://" + path, FlushInterval: "10ms"}, influxtest.Messages(10)); err != nil || st.Dropped != 10 {
			t.Errorf("%s: %v, %+v, want all dropped", path, err, st)
		}
	}
}

// A file that is moved away, as logrotate does, is followed by a new one.
func TestFileIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "points.lp")
	done := make(chan Stats)
	go func() {
		st, _ := publishOver(t, client.Config{URL: "file://" + path, FlushInterval: "10ms"}, influxtest.Messages(1000), time.Second, 5*time.Second)
		done <- st
	}()
	influxtest.WaitFor(t, "file", func() bool { _, err := os.Stat(path); return err == nil })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	st := <-done
	total := 0
	for _, p := range []string{path, path + ".1"} {
		b, err := os.ReadFile(p)
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %d bytes, %v", p, len(b), err)
		}
		total += bytes.Count(b, []byte{'\n'})
	}
	if st.Stored != 1000 || total != 1000 {
		t.Errorf("%d lines in both files, %+v, want 1000", total, st)
	}
}

// Standard output is a pipe: its reader gets the lines, and the process survives the reader's
// end.
func TestStdoutDestination(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	read := make(chan []byte)
	go func() { b, _ := io.ReadAll(r); read <- b }()
	if st, err := publish(t, client.Config{URL: "stdout:", Stdout: w, FlushInterval: "10ms"}, influxtest.Events()); err != nil || st.Stored != st.Accepted {
		t.Fatalf("%v, %+v", err, st)
	}
	w.Close()
	if got, want := len(influxtest.Decode(t, string(<-read))), len(influxtest.Decode(t, influxtest.Encode(testEncoder(), influxtest.Events()...))); got != want {
		t.Errorf("%d points, want %d", got, want)
	}
	r.Close()
	r2, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r2.Close()
	defer w2.Close()
	if st, err := publish(t, client.Config{URL: "stdout:", Stdout: w2, FlushInterval: "10ms"}, influxtest.Messages(10)); err != nil || st.Dropped != 10 || !strings.Contains(st.LastError, "broken pipe") {
		t.Errorf("%v, %+v, want all dropped for a broken pipe", err, st)
	}
}

func TestPlainCannotBeAsked(t *testing.T) {
	for _, u := range []string{"stdout:", "file:///tmp/x", "udp://127.0.0.1:8089"} {
		if _, err := client.New(client.Config{URL: u}); err == nil || !strings.Contains(err.Error(), "cannot be queried") {
			t.Errorf("%s: %v", u, err)
		}
		if err := client.Setup(t.Context(), client.Config{URL: u}); err != nil {
			t.Errorf("%s: set-up: %v", u, err)
		}
	}
}

func testEncoder() *lineproto.Encoder { return lineproto.NewEncoder("node, one", true) }
