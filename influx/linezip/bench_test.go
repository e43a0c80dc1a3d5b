package linezip

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// lines is a batch of wants as the encoder makes them: 2,000 CIDs of 300 peers,
// who send so many at a time.
func lines(points, entries int) []byte {
	var b bytes.Buffer
	for i := range points {
		c, p := sha256.Sum256(fmt.Append(nil, "block ", i%2000)), sha256.Sum256(fmt.Append(nil, "peer ", i/entries%300))
		id := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append([]byte{1, 0x55, 0x12, 0x20}, c[:]...))
		peer := hex.EncodeToString(p[:])[:44]
		fmt.Fprintf(&b, "wants,codec=raw,direction=%s,gateway=false,node=bench,type=%s cid=\"b%s\",peer=\"12D3KooW%s\",priority=%di,send_dont_have=true,full=false,country=\"none\" %d\n",
			[]string{"received", "sent"}[i/entries%2], []string{"want_block", "want_have"}[i%2], strings.ToLower(id), peer, i, 1750000000000000000+1000*i)
	}
	return b.Bytes()
}

// BenchmarkAppend is beside the fastest level of the library that assumes nothing
// of lines.
func BenchmarkAppend(b *testing.B) {
	for _, entries := range []int{1, 16} {
		const points = 5000
		src := lines(points, entries)
		report := func(b *testing.B, size int) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points), "ns/point")
			b.ReportMetric(float64(size)/points, "B/point")
		}
		b.Run(fmt.Sprintf("%d/ours", entries), func(b *testing.B) {
			w := new(Writer)
			var out []byte
			for b.Loop() {
				out = w.Append(out[:0], src)
			}
			report(b, len(out))
		})
		b.Run(fmt.Sprintf("%d/library", entries), func(b *testing.B) {
			var buf bytes.Buffer
			w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				buf.Reset()
				w.Reset(&buf)
				if _, err := w.Write(src); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, buf.Len())
		})
	}
}
