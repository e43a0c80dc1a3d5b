// Command archive measures Parquet files against recordings and line protocol: bytes
// an entry of a wantlist, entries a second of a core, and how long DuckDB takes to
// answer, on the same events in one run.
//
// In: the folder with DuckDB for Node, which the Makefile installs. Out: a table, and
// a status other than 0 if a gate is missed.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/stream"
)

func main() {
	entries := flag.Int("entries", 10_000_000, "entries of wantlists in the archive that DuckDB asks")
	duckdb := flag.String("duckdb", "", "folder with run.mjs and @duckdb/node-api; without it DuckDB is left out")
	flag.Parse()
	if err := all(*entries, *duckdb); err != nil {
		fmt.Fprintln(os.Stderr, "bench/archive:", err)
		os.Exit(1)
	}
}

// sizes are the entries of the measurements of bytes and of speed.
const sizes = 1_000_000

func all(entries int, duckdb string) error {
	fmt.Println(harness.Machine())
	fmt.Println(harness.Load())
	dir, err := os.MkdirTemp("", "ipfsmon-bench-archive-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var gates harness.Gates
	for _, of := range []struct {
		name          string
		fresh, asking bool
	}{{"a node that asks, as RFM16's", false, true}, {"a node that is asked", false, false}, {"a node that is asked, each CID new", true, false}} {
		m := newMix(of.fresh, of.asking)
		events := m.events(sizes)
		name := of.name
		fmt.Printf("\n%s: %d entries in %d messages, %.1f entries for each CID, %.2f for each message, %d peers\n", name, m.entries, len(events), float64(m.entries)/float64(m.distinct), float64(m.entries)/float64(len(events)), mixPeers)
		per := func(bytes int64) float64 { return float64(bytes) / float64(m.entries) }

		at := filepath.Join(dir, name)
		begin, used := time.Now(), harness.CPUTime()
		total, err := write(at, "m", events)
		if err != nil {
			return err
		}
		cpu, took := harness.CPUTime()-used, time.Since(begin).Seconds()
		info, err := archive.Look(noContext, at, nil)
		if err != nil {
			return err
		}
		inParquet, rate := per(info.Bytes), float64(m.entries)/cpu
		text := fmt.Sprintf("  Parquet          %6.1f bytes an entry (wants alone %.1f), %.0f entries/s a core, %.0f/s by the clock, %d rows, %.0f MiB peak", inParquet, per(info.Sizes["wants"]), rate, float64(m.entries)/took, total, harness.PeakMiB())
		if !of.asking {
			fmt.Println(text)
		} else {
			fmt.Println(gates.Check(inParquet <= 16, "%s; at most 16 bytes", text))
			fmt.Println(gates.Check(rate >= 200_000, "  writing          %.0f entries/s a core, at least 200,000", rate))
		}
		size, cpu, err := recorded(filepath.Join(dir, name+" json"), events)
		if err != nil {
			return err
		}
		fmt.Printf("  recording        %6.1f bytes an entry (gzip of lines of JSON), %.0f entries/s a core: %.1f times the bytes\n", per(size), float64(m.entries)/cpu, per(size)/inParquet)
		raw, zipped, cpu := lines(events)
		fmt.Printf("  line protocol    %6.1f bytes an entry, gzip %.1f, %.0f entries/s a core with gzip: %.1f times the bytes\n", per(raw), per(zipped), float64(m.entries)/cpu, per(zipped)/inParquet)
	}
	if duckdb == "" {
		fmt.Println("\nwithout DuckDB: name its folder with -duckdb")
		return gates.Err()
	}
	if err := ask(dir, duckdb, entries, &gates); err != nil {
		return err
	}
	return gates.Err()
}

// write makes an archive of the events.
func write(dir, source string, events []*event.Event) (rows int64, err error) {
	w, err := archive.NewWriter(dir, archive.Options{Monitor: "bench", Source: archive.SourceID(source)})
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	for _, e := range events {
		if err := w.Add(e); err != nil {
			return 0, err
		}
	}
	return w.Rows, w.Commit(archive.Source{Name: source})
}

// recorded writes the events as a recorder does.
func recorded(dir string, events []*event.Event) (size int64, cpu float64, err error) {
	r, err := stream.NewRecorder(dir, "bench")
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	used := harness.CPUTime()
	for _, e := range events {
		if err := r.Add(client(e)); err != nil {
			return 0, 0, err
		}
	}
	if err := r.Close(); err != nil {
		return 0, 0, err
	}
	cpu = harness.CPUTime() - used
	files, err := stream.Recordings(dir)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return 0, 0, err
		}
		size += info.Size()
	}
	return size, cpu, err
}

// client returns the event as a recorder has it.
func client(e *event.Event) *stream.Event {
	m := &stream.Message{Full: e.Full, Wants: make([]stream.Want, len(e.Wants)), WireSize: e.WireSize}
	for i, w := range e.Wants {
		m.Wants[i] = stream.Want{Cid: w.CID, Priority: w.Priority, WantType: int32(w.Type), Cancel: w.Cancel, SendDontHave: w.SendDontHave}
	}
	for _, a := range e.Addrs {
		m.Addrs = append(m.Addrs, string(a))
	}
	return &stream.Event{Timestamp: e.At(), Peer: e.Peer.String(), Seq: e.Seq, Country: e.Country, Gateway: e.Gateway, Message: m}
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

// lines encodes the events as line protocol.
func lines(events []*event.Event) (raw, zipped int64, cpu float64) {
	used := harness.CPUTime()
	var out counter
	zip := gzip.NewWriter(&out)
	enc := lineproto.NewEncoder("bench", true)
	var buf [schema.Kinds][]byte
	for _, e := range events {
		buf, _ = enc.Append(buf, e)
		for k := range buf {
			raw += int64(len(buf[k]))
			_, _ = zip.Write(buf[k]) // a counter takes all
			buf[k] = buf[k][:0]
		}
	}
	_ = zip.Close()
	return raw, out.n, harness.CPUTime() - used
}

// ask has DuckDB answer questions about an archive, and answers the same from the
// recordings.
func ask(dir, duckdb string, entries int, gates *harness.Gates) error {
	at := filepath.Join(dir, "large")
	records, err := stream.NewRecorder(filepath.Join(dir, "large json"), "bench")
	if err != nil {
		return err
	}
	defer records.Close()
	m := newMix(false, false)
	w, err := archive.NewWriter(at, archive.Options{Monitor: "bench", Source: archive.SourceID("large")})
	if err != nil {
		return err
	}
	defer w.Abort()
	begin := time.Now()
	for m.entries < entries {
		e := m.next()
		if err := w.Add(e); err != nil {
			return err
		}
		if m.entries <= entries/10 {
			if err := records.Add(client(e)); err != nil {
				return err
			}
		}
	}
	if err := w.Commit(archive.Source{Name: "large"}); err != nil {
		return err
	}
	if err := records.Close(); err != nil {
		return err
	}
	info, err := archive.Look(noContext, at, nil)
	if err != nil {
		return err
	}
	fmt.Printf("\n%d entries in %d hours, %d files, %.1f bytes an entry, made in %.0f s\n", m.entries, info.Monitors[0].Hours, info.Files, float64(info.Bytes)/float64(m.entries), time.Since(begin).Seconds())
	rare, frequent := m.cid(m.distinct/2).String(), m.cid(50).String()
	questions := []struct{ name, sql string }{
		{"top 100 CIDs", "SELECT cid, count(*) AS n FROM read_parquet('" + at + "/wants/**/*.parquet') WHERE type <> 'cancel' GROUP BY cid ORDER BY n DESC LIMIT 100"},
		{"history of a rare CID", "SELECT time, peer, type FROM read_parquet('" + at + "/wants/**/*.parquet') WHERE cid = '" + rare + "' ORDER BY time"},
		{"history of a frequent CID", "SELECT time, peer, type FROM read_parquet('" + at + "/wants/**/*.parquet') WHERE cid = '" + frequent + "' ORDER BY time"},
	}
	var statements []string
	for _, q := range questions {
		statements = append(statements, q.sql)
	}
	b, err := json.Marshal(statements)
	if err != nil {
		return err
	}
	cmd := exec.Command("node", "run.mjs", "time")
	cmd.Dir, cmd.Stderr = duckdb, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		_, _ = in.Write(b) // the answer shows it
		in.Close()
	}()
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("DuckDB: %w", err)
	}
	var times []struct {
		Rows    int
		Seconds []float64
	}
	if err := json.Unmarshal(answer, &times); err != nil {
		return fmt.Errorf("DuckDB: %w: %s", err, answer)
	}
	begin = time.Now()
	seen := map[string]int{}
	files, err := stream.Recordings(filepath.Join(dir, "large json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := stream.ReadRecording(f, func(e *stream.Event) error {
			for _, w := range e.Message.Wants {
				if !w.Cancel {
					seen[w.Cid.KeyString()]++
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	scan := time.Since(begin).Seconds() * 10
	for i, limit := range []float64{2, 0.2, 0.2} {
		t := harness.Median(times[i].Seconds)
		fmt.Println(gates.Check(t < limit, "  %-31s %7.3f s, %d rows, under %.1f s; from recordings %.0f s (a tenth of them read, times ten): %.0f times", questions[i].name, t, times[i].Rows, limit, scan, scan/t))
	}
	return nil
}

var _ io.Writer = (*counter)(nil)
