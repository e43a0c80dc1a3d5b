package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// What follows the length of a version 4 frame: the version, the encoding of the
// rest, two bytes 0, and the length of the rest when decompressed, big-endian.
// The rest is lines of JSON.
const (
	version4      = 4
	batchHeader   = 8
	encodingPlain = 0
	encodingGzip  = 1
	encodingZstd  = 2
	// maxBatch is the longest that a batch may be when decompressed, in bytes.
	maxBatch = 16 << 20
)

// encodings are the names of the encodings in the handshake. A client cannot ask
// for encodingPlain, which gap records have.
var encodings = map[string]byte{"": encodingZstd, "zstd": encodingZstd, "gzip": encodingGzip}

func encodingName(e byte) string {
	if e == encodingGzip {
		return "gzip"
	}
	return "zstd"
}

// zstdWindow is the window of our batches, which is what a client needs in memory.
const zstdWindow = 256 << 10

// batchCompressor makes the frames of version 4. It is for one goroutine.
type batchCompressor struct {
	zstd *zstd.Encoder
	gzip compressor
}

// frame returns a frame with the lines. The caller owns it.
func (c *batchCompressor) frame(lines []byte, encoding byte) []byte {
	dst := make([]byte, headerBytes+batchHeader, headerBytes+batchHeader+len(lines)/3+256)
	switch encoding {
	case encodingZstd:
		if c.zstd == nil {
			var err error
			c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
			if err != nil {
				panic(err) // happens only for invalid options
			}
		}
		dst = c.zstd.EncodeAll(lines, dst)
	case encodingGzip:
		dst = c.gzip.appendGzip(dst, lines)
	default:
		dst = append(dst, lines...)
	}
	binary.BigEndian.PutUint32(dst, uint32(len(dst)-headerBytes))
	dst[4], dst[5] = version4, encoding
	binary.BigEndian.PutUint32(dst[8:], uint32(len(lines)))
	return dst
}

// gap is what a subscriber missed and has not been sent yet.
type gap struct{ slow, bus, first, last uint64 }

func (g *gap) any() bool { return g.slow|g.bus > 0 }

func (g *gap) add(slow, bus, first, last uint64) {
	if !g.any() || first < g.first {
		g.first = first
	}
	g.slow += slow
	g.bus += bus
	g.last = max(g.last, last)
}

// frame returns the gap record as a frame.
func (g *gap) frame() []byte {
	line := append([]byte(nil), `{"gap":{"slow":`...)
	line = strconv.AppendUint(line, g.slow, 10)
	line = append(line, `,"bus":`...)
	line = strconv.AppendUint(line, g.bus, 10)
	line = append(line, `,"first":`...)
	line = strconv.AppendUint(line, g.first, 10)
	line = append(line, `,"last":`...)
	line = strconv.AppendUint(line, g.last, 10)
	var c batchCompressor
	return c.frame(append(line, "}}\n"...), encodingPlain)
}

// batchDecoder reads the frames of version 4. Its buffers grow with the frames
// and stay.
type batchDecoder struct {
	frame []byte
	plain []byte
	rest  []byte // lines of plain that next has not returned yet
	gz    gzip.Reader
	zstd  *zstd.Decoder
}

func (d *batchDecoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
		d.zstd = nil
	}
}

// next returns the next line as an event. A line of an unknown kind returns an
// event without a part.
func (d *batchDecoder) next(r io.Reader) (*Event, error) {
	for len(d.rest) == 0 {
		frame, err := readFrame(r, d.frame, maxFrameBytes)
		if err != nil {
			return nil, err
		}
		d.frame = frame
		if err := d.inflate(); err != nil {
			return nil, fmt.Errorf("stream: a batch of %d bytes: %w", len(frame), err)
		}
		d.rest = d.plain
	}
	line := d.rest
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, d.rest = line[:i], line[i+1:]
	} else {
		d.rest = nil
	}
	e := new(Event)
	if err := decodeLine(line, e); err != nil {
		return nil, fmt.Errorf("stream: decode an event of %d bytes: %w", len(line), err)
	}
	return e, nil
}

// inflate decompresses the lines of the frame into plain.
func (d *batchDecoder) inflate() error {
	f := d.frame
	if len(f) < batchHeader {
		return fmt.Errorf("want %d or more", batchHeader)
	}
	if f[0] != version4 || f[2] != 0 || f[3] != 0 {
		return fmt.Errorf("bad batch header %x: want 04, the encoding, 0000", f[:4])
	}
	encoding, size, body := f[1], binary.BigEndian.Uint32(f[4:]), f[batchHeader:]
	limit := min(maxBatch, max(freeInflated, maxRatio*len(body)))
	if int64(size) > int64(limit) {
		return fmt.Errorf("decompressed, it has %d bytes: want at most %d", size, limit)
	}
	var err error
	switch encoding {
	case encodingPlain:
		d.plain = append(d.plain[:0], body...)
	case encodingGzip:
		err = d.inflateGzip(body, int64(size))
	case encodingZstd:
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBatch),
				zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
			if err != nil {
				return err
			}
		}
		// The capacity limits what is written to the size in the header.
		if cap(d.plain) < int(size) {
			d.plain = make([]byte, 0, size)
		}
		d.plain, err = d.zstd.DecodeAll(body, d.plain[:0:size])
	default:
		return fmt.Errorf("encoding %d: want 0, 1 (gzip) or 2 (zstd)", encoding)
	}
	if err != nil {
		return err
	}
	if len(d.plain) != int(size) {
		return fmt.Errorf("decompressed size %d does not match the header's %d", len(d.plain), size)
	}
	return nil
}

func (d *batchDecoder) inflateGzip(body []byte, size int64) error {
	in := bytes.NewReader(body)
	if err := d.gz.Reset(in); err != nil {
		return err
	}
	d.gz.Multistream(false)
	out := bytes.NewBuffer(d.plain[:0])
	_, err := out.ReadFrom(io.LimitReader(&d.gz, size+1))
	d.plain = out.Bytes()
	if err == nil && in.Len() > 0 {
		err = errors.New("there are bytes after the end of the gzip stream")
	}
	return err
}
