package stream

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// gzipHeader is the header that the old exporter wrote: deflate, no name, no
// time, level 6, unknown system.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// smallJSON is the length in bytes up to which the JSON of an event has hardly
// any repeats: a Huffman code alone compresses it as well as level 1, in less
// time (BenchmarkCodec).
const smallJSON = 512

// compressor makes frames. It is for one goroutine. The caller owns what it
// appends.
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

// appendFrame appends one frame: raw as one complete gzip stream.
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

// writer returns the compressor for n bytes of JSON, reset to write to out. The
// compressors are reused: to allocate one costs more than to compress a small
// frame.
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
		panic(err) // happens only for an invalid level
	}
	*w = made
	return made
}
