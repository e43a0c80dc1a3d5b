package introspect

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// CaptureVersion is the version of a capture file, its first 4 bytes.
const CaptureVersion = 1

// CaptureWriter writes a capture file: the unchanged messages of one session.
// docs/formats/introspect.md describes the format. It must not be used concurrently.
type CaptureWriter struct {
	w     *bufio.Writer
	began bool
}

// NewCaptureWriter writes to w; nothing is written before the first message, so
// that a session that failed leaves an empty file.
func NewCaptureWriter(w io.Writer) *CaptureWriter { return &CaptureWriter{w: bufio.NewWriter(w)} }

// WriteFrame adds a message as a server sent it, with its header.
func (c *CaptureWriter) WriteFrame(frame []byte) error {
	payload, err := framePayload(frame)
	if err != nil {
		return err
	}
	if !c.began {
		c.began = true
		if err := c.word(CaptureVersion); err != nil {
			return err
		}
	}
	if err := errors.Join(c.word(checksum(payload)), c.word(uint32(len(payload)))); err != nil {
		return err
	}
	_, err = c.w.Write(payload)
	return err
}

// Write adds a message.
func (c *CaptureWriter) Write(m *pb.ServerMessage) error {
	b, err := encodeFrame(m, 1024)
	if err != nil {
		return err
	}
	return c.WriteFrame(b)
}

// Flush writes buffered messages to the file.
func (c *CaptureWriter) Flush() error { return c.w.Flush() }

func (c *CaptureWriter) word(v uint32) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	_, err := c.w.Write(b[:])
	return err
}

// CaptureReader reads a capture file. It must not be used concurrently.
type CaptureReader struct {
	r      *bufio.Reader
	began  bool
	offset int64
}

// NewCaptureReader reads from r.
func NewCaptureReader(r io.Reader) *CaptureReader { return &CaptureReader{r: bufio.NewReader(r)} }

// CaptureError reports where a capture file is damaged.
type CaptureError struct {
	Offset int64 // bytes from the file's beginning
	Reason string
}

func (e *CaptureError) Error() string {
	return fmt.Sprintf("introspect: a capture file is damaged at byte %d: %s", e.Offset, e.Reason)
}

// Next returns the next message and its frame. The error is io.EOF at the end; a truncated last
// message is the end too, because a killed recorder leaves one. Other damage is a *CaptureError
// with its offset.
func (c *CaptureReader) Next() (*pb.ServerMessage, []byte, error) {
	if !c.began {
		v, err := c.word()
		if err != nil {
			return nil, nil, c.short(err)
		}
		if v != CaptureVersion {
			return nil, nil, &CaptureError{0, fmt.Sprintf("its version is %d, want %d", v, CaptureVersion)}
		}
		c.began = true
	}
	at := c.offset
	sum, err := c.word()
	if err != nil {
		return nil, nil, c.short(err)
	}
	n, err := c.word()
	if err != nil {
		return nil, nil, c.short(err)
	}
	if n > MaxMessageBytes {
		return nil, nil, &CaptureError{at, fmt.Sprintf("a message of %d bytes, want at most %d", n, MaxMessageBytes)}
	}
	frame, err := c.frame(sum, n)
	if err != nil {
		return nil, nil, c.short(err)
	}
	payload, err := framePayload(frame)
	if err != nil {
		return nil, nil, &CaptureError{at, "the checksum of a message does not match"}
	}
	m, err := decodeMessage(payload)
	if err != nil {
		return nil, nil, &CaptureError{at, "a message cannot be decoded"}
	}
	return m, frame, nil
}

// frame reads a payload of n bytes. A length that the file only claims allocates no memory.
func (c *CaptureReader) frame(sum, n uint32) ([]byte, error) {
	const step = 1 << 20
	out := make([]byte, headerBytes, headerBytes+min(n, step))
	binary.LittleEndian.PutUint32(out, frameVersion)
	binary.LittleEndian.PutUint32(out[4:], sum)
	binary.LittleEndian.PutUint32(out[8:], n)
	for left := int(n); left > 0; {
		from := len(out)
		k := min(left, step)
		out = append(out, make([]byte, k)...)
		if _, err := io.ReadFull(c.r, out[from:]); err != nil {
			return nil, err
		}
		c.offset += int64(k)
		left -= k
	}
	return out, nil
}

func (c *CaptureReader) word() (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(c.r, b[:]); err != nil {
		return 0, err
	}
	c.offset += 4
	return binary.LittleEndian.Uint32(b[:]), nil
}

// short turns a truncated read into the end of the file.
func (c *CaptureReader) short(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}
