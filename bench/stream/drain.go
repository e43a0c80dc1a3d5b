package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// drained is what the process with the subscribers found.
type drained struct {
	Events []int // of each subscriber
	End    int64 // when the last event came: nanoseconds since 1970
}

// drain is the process with the subscribers: it reads frames and throws them
// away. It ends with the streams.
func drain(j job, addr string) error {
	d := drained{Events: make([]int, j.Subscribers)}
	ends := make([]time.Time, j.Subscribers)
	errs := make([]error, j.Subscribers)
	var wg sync.WaitGroup
	for i := range j.Subscribers {
		conn, err := dial(addr, j.Version)
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer conn.Close()
			d.Events[i], ends[i], errs[i] = read(conn, j.Version)
		})
	}
	for range j.Stuck {
		conn, err := dial(addr, j.Version)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		d.End = max(d.End, ends[i].UnixNano())
	}
	return json.NewEncoder(os.Stdout).Encode(d)
}

func dial(addr string, version int) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	hello := fmt.Appendf(nil, "\x00\x00\x00\x0d{\"version\":%d}", version)
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(conn, make([]byte, len(hello)))
	return conn, err
}

// read counts events until the stream ends. It looks into the frames of version
// 4 alone, to count what is in them.
func read(conn net.Conn, version int) (events int, last time.Time, err error) {
	if version == 4 {
		return readV4(conn)
	}
	r := bufio.NewReaderSize(conn, 256<<10)
	var header [4]byte
	for {
		if _, err := io.ReadFull(r, header[:]); err == io.EOF {
			return events, last, nil
		} else if err != nil {
			return events, last, err
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(header[:]))); err != nil {
			return events, last, err
		}
		events++
		if r.Buffered() == 0 {
			last = time.Now()
		}
	}
}

func readV4(conn net.Conn) (events int, last time.Time, err error) {
	r := bufio.NewReaderSize(conn, 256<<10)
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return 0, last, err
	}
	defer unzip.Close()
	frame := func() ([]byte, error) {
		var header [4]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return nil, err
		}
		f := make([]byte, binary.BigEndian.Uint32(header[:]))
		_, err := io.ReadFull(r, f)
		return f, err
	}
	if _, err := frame(); err != nil { // the server's answer to the hello
		return 0, last, err
	}
	for {
		f, err := frame()
		if err == io.EOF {
			return events, last, nil
		} else if err != nil {
			return events, last, err
		}
		lines := f[8:]
		if f[1] == 2 {
			if lines, err = unzip.DecodeAll(lines, nil); err != nil {
				return events, last, err
			}
		}
		events += bytes.Count(lines, []byte("\n"))
		last = time.Now()
	}
}
