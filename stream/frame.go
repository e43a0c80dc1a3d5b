package stream

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// version is the version of the protocol in this file.
	version = 3
	// headerBytes is the length of a frame's header: the number of bytes that
	// follow it, big-endian.
	headerBytes = 4
	// maxHandshakeBytes is the longest frame that a server accepts.
	maxHandshakeBytes = 4 << 10
	// maxFrameBytes is the longest frame that a client accepts.
	maxFrameBytes = 8 << 20
)

// hello is the first frame of both sides, uncompressed and without a newline.
// Version 3 has the version alone. A server always sends the hello of version 3.
type hello struct {
	Version *uint16 `json:"version"`
	// What a client of version 4 may add.
	Token    string `json:"token,omitempty"`
	Encoding string `json:"encoding,omitempty"` // zstd (the default) or gzip
	Filter   Filter `json:"filter"`
	Clock    bool   `json:"clock,omitempty"` // the client may send pings
}

// welcome is a server's answer to the hello of version 4: either Error or the
// rest is set.
type welcome struct {
	Version  int    `json:"version,omitempty"`
	Monitor  string `json:"monitor,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	Error    string `json:"error,omitempty"`
	// For a client that set Clock: a name of this run of the server, since whose
	// start Seq counts, and the server's clock. The server answers pings.
	Run  string     `json:"run,omitempty"`
	Time *time.Time `json:"time,omitempty"`
}

// helloFrame is the hello of version 3 as a frame.
var helloFrame = []byte("\x00\x00\x00\x0d{\"version\":3}")

// readFrame reads one frame of 1 to limit bytes into buf. buf grows with the
// bytes that have arrived: a length without bytes allocates no memory.
func readFrame(r io.Reader, buf []byte, limit int) ([]byte, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(header[:]))
	if n == 0 || n > int64(limit) {
		return nil, fmt.Errorf("stream: frame of %d bytes: want 1 to %d", n, limit)
	}
	const step = 64 << 10
	buf = buf[:0]
	for int64(len(buf)) < n {
		have := len(buf)
		more := int(min(n-int64(have), step))
		if cap(buf)-have < more {
			buf = append(buf, make([]byte, more)...)
		}
		buf = buf[:have+more]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// readHello reads the other side's hello and checks the version. It reads the
// other fields for version 4 only.
func readHello(r io.Reader, versions ...uint16) (h hello, err error) {
	frame, err := readFrame(r, nil, maxHandshakeBytes)
	if err != nil {
		return h, err
	}
	var v struct {
		Version *uint16 `json:"version"`
	}
	if err := json.Unmarshal(frame, &v); err != nil {
		return h, fmt.Errorf("stream: the first frame is not a hello such as {\"version\":%d}: %w", version, err)
	}
	if v.Version == nil {
		return h, fmt.Errorf("stream: the hello has no version: want %d", version)
	}
	if !slices.Contains(versions, *v.Version) {
		return h, fmt.Errorf("stream: the other side speaks version %d of the protocol: want %d", *v.Version, version)
	}
	h.Version = v.Version
	if *v.Version == version4 {
		if err := json.Unmarshal(frame, &h); err != nil {
			return h, badHello{fmt.Errorf("stream: the hello of version 4: %w", err)}
		}
	}
	return h, nil
}

// badHello is an error that is sent to a client of version 4.
type badHello struct{ error }

// jsonFrame returns a frame with the JSON of v.
func jsonFrame(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // cannot happen: the types of this file always have a JSON form
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}
