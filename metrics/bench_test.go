package metrics

import (
	"testing"
	"time"
)

// scrapeGate is the longest that a scrape may take with 50,000 peers.
const scrapeGate = 50 * time.Millisecond

// BenchmarkScrape50kPeers scrapes after a sample of 50,000 peers, each with its own
// agent, its own protocol and three streams, which is more than capture would admit. It
// fails if a scrape is too slow.
func BenchmarkScrape50kPeers(b *testing.B) {
	m := newTest(b, Config{Pipeline: everyPart})
	m.take(invented(50_000))
	h := m.Handler()
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(scrape(h).Body.Len()))
	}
	if each := b.Elapsed() / time.Duration(b.N); each > scrapeGate {
		b.Fatalf("a scrape takes %v, want less than %v", each, scrapeGate)
	}
}

// BenchmarkSample50kPeers measures what is done once for each such sample.
func BenchmarkSample50kPeers(b *testing.B) {
	m := newTest(b, Config{})
	e := invented(50_000)
	b.ReportAllocs()
	for b.Loop() {
		m.take(e)
	}
}
