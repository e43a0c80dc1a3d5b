package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/fleet/size"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/stream"
)

// batchBytes is how long a batch of a monitor is, before it is compressed.
const batchBytes = 128 << 10

// frames measures the whole way from the bytes of a connection.
func frames(g *harness.Gates, rounds int) error {
	const rate, seconds = 2500, 30
	events := traffic(5000, rate, seconds)
	entries := entriesOf(events)
	sessions, err := encode(events)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("frames of version 4: three monitors, %d messages of %d entries, 5,000 peers; one goroutine decodes, matches and counts\n", len(events), entriesPerMessage)
	var rates, matching []float64
	for round := range rounds {
		used, matched, err := receive(filepath.Join(dir, fmt.Sprint(round)), sessions, entries)
		if err != nil {
			return err
		}
		rates = append(rates, float64(entries)/used)

		began := harness.CPUTime()
		if _, err := count(func(u *unify.Unifier) error { feed(u, events); return nil }); err != nil {
			return err
		}
		matching = append(matching, float64(entries)/(harness.CPUTime()-began))
		if matched == 0 {
			return errors.New("no entry is matched")
		}
	}
	rateOf := harness.Median(rates)
	fmt.Println(g.Check(rateOf >= leastRate, "  all: %.0f entries a second of one core, at least %d", rateOf, leastRate))
	fmt.Printf("  matching and counting alone: %.0f\n", harness.Median(matching))
	return nil
}

// count makes a unifier that counts as a collector does: popularity, distinct CIDs
// of each monitor.
func count(run func(u *unify.Unifier) error) (matched int, err error) {
	popular, cids := size.NewPopularity(0), size.NewCIDs(len(monitors))
	u, err := unify.New(unify.Config{Monitors: monitors, Lateness: time.Second}, func(e *unify.Entry) {
		if e.Matched {
			matched++
		}
		if e.Type.Request() {
			cids.Add(e.Monitor, e.CID)
			if !e.Duplicate {
				popular.Add(e.CID, e.Peer)
			}
		}
	})
	if err != nil {
		return 0, err
	}
	err = run(u)
	return matched, err
}

// encode returns what each monitor sends after the handshake.
func encode(events []unify.Event) ([][]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	out, lines := make([][]byte, len(monitors)), make([][]byte, len(monitors))
	flush := func(m int) {
		if len(lines[m]) == 0 {
			return
		}
		frame := enc.EncodeAll(lines[m], make([]byte, 12))
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		frame[4], frame[5] = 4, 2
		binary.BigEndian.PutUint32(frame[8:], uint32(len(lines[m])))
		out[m], lines[m] = append(out[m], frame...), lines[m][:0]
	}
	for i := range events {
		e := &events[i]
		s := stream.Event{Timestamp: time.Unix(0, e.Time).UTC(), Peer: e.Peer.String(), Seq: e.Seq, Message: &stream.Message{Addrs: []string{e.Address}}}
		for _, w := range e.Wants {
			s.Message.Wants = append(s.Message.Wants, stream.Want{Cid: w.CID, Priority: w.Priority, WantType: 1})
		}
		m := e.Monitor
		if lines[m], err = s.AppendJSON(lines[m]); err != nil {
			return nil, err
		}
		if len(lines[m]) >= batchBytes {
			flush(m)
		}
	}
	for m := range monitors {
		flush(m)
	}
	return out, nil
}

// receive reads all sessions as a collector does, and returns the CPU time of this
// process for that, in seconds. The other ends write bytes that are ready.
func receive(path string, sessions [][]byte, entries int) (used float64, matched int, err error) {
	var clients []*stream.Client
	for m, name := range monitors {
		l, err := net.Listen("unix", path+name)
		if err != nil {
			return 0, 0, err
		}
		defer l.Close()
		go serve(l, name, sessions[m])
		c, err := stream.Options{Version: 4}.Dial(context.Background(), "unix:"+path+name)
		if err != nil {
			return 0, 0, err
		}
		defer c.Close()
		clients = append(clients, c)
	}
	began := harness.CPUTime()
	read := 0
	matched, err = count(func(u *unify.Unifier) error {
		newest, ended := make([]int64, len(clients)), make([]bool, len(clients))
		convert := make([]*unify.Converter, len(clients))
		for m := range clients {
			convert[m] = unify.NewConverter(m)
		}
		for {
			// The monitor that is behind is next.
			m := -1
			for i := range clients {
				if !ended[i] && (m < 0 || newest[i] < newest[m]) {
					m = i
				}
			}
			if m < 0 {
				u.Flush()
				return nil
			}
			batch := make([]unify.Event, 0, 64)
			for len(batch) < cap(batch) {
				e, err := clients[m].Next()
				if errors.Is(err, io.EOF) {
					ended[m] = true
					break
				}
				if err != nil {
					return err
				}
				out, ok, err := convert[m].Event(e)
				if err != nil || !ok {
					return fmt.Errorf("an event that is no message: %w", err)
				}
				read += len(out.Wants)
				newest[m] = out.Time
				batch = append(batch, out)
			}
			u.Push(batch)
			u.Advance(newest[m])
		}
	})
	if err == nil && read != entries {
		err = fmt.Errorf("%d entries were read: want %d", read, entries)
	}
	return harness.CPUTime() - began, matched, err
}

// serve is the other end of one connection.
func serve(l net.Listener, name string, session []byte) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	write := func(text string) {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)) // the client sees it if it fails
	}
	write(`{"version":3}`)
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(length[:]))); err != nil {
		return
	}
	write(fmt.Sprintf(`{"version":4,"monitor":%q,"encoding":"zstd"}`, name))
	_, _ = conn.Write(session) // the client sees it if it fails
}
