package stream

import (
	"fmt"
	"io"
	"testing"
	"time"

	stdgzip "compress/gzip"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

type resetter interface {
	io.WriteCloser
	Reset(io.Writer)
}

// BenchmarkCodec is the evidence for the choice of the compressor of version 3: one frame
// by each available one, alternately.
func BenchmarkCodec(b *testing.B) {
	for _, wants := range []int{1, 16} {
		raws := make([][]byte, 64)
		for i := range raws {
			raws[i] = appendV3(nil, message(i*13, wants), false)
		}
		type codec struct {
			name  string
			frame func(dst, raw []byte) []byte
			spent time.Duration
			bytes int
		}
		var codecs []*codec
		add := func(name string, f func(dst, raw []byte) []byte) {
			codecs = append(codecs, &codec{name: name, frame: f})
		}
		pooled := func(name string, w resetter) {
			var out appendWriter
			add(name, func(dst, raw []byte) []byte {
				out.buf = dst
				w.Reset(&out)
				_, _ = w.Write(raw)
				_ = w.Close()
				return out.buf
			})
		}
		for _, level := range []int{gzip.StatelessCompression, gzip.HuffmanOnly, 1, 2, 3, 4, 5, 6} {
			w, err := gzip.NewWriterLevel(io.Discard, level)
			if err != nil {
				b.Fatal(err)
			}
			pooled(fmt.Sprintf("klauspost-level%+d", level), w)
		}
		std1, _ := stdgzip.NewWriterLevel(io.Discard, 1)
		pooled("std-gzip1", std1)
		std6, _ := stdgzip.NewWriterLevel(io.Discard, 6)
		pooled("std-gzip6", std6)
		var sl appendWriter
		add("klauspost-StatelessDeflate", func(dst, raw []byte) []byte {
			sl.buf = append(dst, gzipHeader...)
			if err := flate.StatelessDeflate(&sl, raw, true, nil); err != nil {
				b.Fatal(err)
			}
			return sl.buf
		})
		var own compressor
		add("frame", func(dst, raw []byte) []byte { return own.appendFrame(dst, raw) })

		b.Run(fmt.Sprintf("entries=%d", wants), func(b *testing.B) {
			n := 0
			var dst []byte
			for b.Loop() {
				raw := raws[n%len(raws)]
				n++
				for _, c := range codecs {
					start := time.Now()
					dst = c.frame(dst[:0], raw)
					c.spent += time.Since(start)
					c.bytes += len(dst)
				}
			}
			for _, c := range codecs {
				b.ReportMetric(float64(c.spent.Nanoseconds())/float64(n), c.name+"-ns")
				b.ReportMetric(float64(c.bytes)/float64(n), c.name+"-B")
			}
		})
	}
}

// TestFramesAreAsSmallAsTheOldOnes compares with compress/gzip at the level of the old
// exporter.
func TestFramesAreAsSmallAsTheOldOnes(t *testing.T) {
	for _, wants := range []int{1, 4, 16, 200} {
		var enc encoder
		var before oldEncoder
		old := 0
		for n := range 100 {
			e := message(100_000+n, wants)
			enc.add(e)
			old += len(before.frame(e))
		}
		t.Logf("%d entries: %d bytes, old %d", wants, len(enc.frameData)/100, old/100)
		require.Less(t, len(enc.frameData), old*115/100, "%d entries", wants)
	}
}
