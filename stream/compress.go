package stream

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// gzipHeader is that of the old exporter: deflate, no name, no time, level 6,
// system unknown.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// smallJSON is the length in bytes up to which JSON of an event holds hardly
// anything twice: a Huffman code alone makes it as small as level 1 does, and
// takes less time (BenchmarkCodec).
const smallJSON = 512

// compressor makes frames. It is for one goroutine; what it appends is no
// longer its own.
type compressor struct {
	small, large *flate.Writer
	out          appendWriter
}

// appendWriter is an io.Writer that appends to a slice.
type appendWriter struct{ buf []byte }

func (w *appendWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// appendFrame appends one frame that has raw as one complete gzip stream.
func (c *compressor) appendFrame(dst, raw []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = c.appendGzip(dst, raw)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-headerBytes))
	return dst
}

// appendGzip appends raw as one complete gzip stream.
func (c *compressor) appendGzip(dst, raw []byte) []byte {
	c.out.buf = append(dst, gzipHeader...)
	w := c.writer(len(raw))
	// Neither can fail: appendWriter never does.
	_, _ = w.Write(raw)
	_ = w.Close()
	dst, c.out.buf = c.out.buf, nil
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(raw))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(raw)))
}

// writer returns the one for so much JSON, set to write to out. The writers stay,
// for what costs most in compressing a small frame is to make one.
func (c *compressor) writer(n int) *flate.Writer {
	w, level := &c.small, flate.HuffmanOnly
	if n > smallJSON {
		w, level = &c.large, flate.BestSpeed
	}
	if *w != nil {
		(*w).Reset(&c.out)
		return *w
	}
	made, err := flate.NewWriter(&c.out, level)
	if err != nil {
		panic(err) // the levels are good ones
	}
	*w = made
	return made
}
