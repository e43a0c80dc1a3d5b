package archive

import (
	"testing"
	"time"
)

// BenchmarkWriter is the cost of one message with its parts, on disk.
func BenchmarkWriter(b *testing.B) {
	w, err := NewWriter(b.TempDir(), Options{Monitor: "m", Source: SourceID("s")})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	b.ReportAllocs()
	for i := range b.N {
		if err := w.Add(message(i, begin.Add(time.Duration(i)*time.Millisecond))); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(w.Rows)/b.Elapsed().Seconds(), "rows/s")
}
