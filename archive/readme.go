package archive

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// readme returns the README of a publication.
func (p *Publication) readme(i *Info) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	clean := func(s string) string { return strings.ReplaceAll(string(event.Clean(s, 512)), "|", "/") }
	title := p.Title
	if title == "" {
		title = "What monitors saw of the IPFS network"
	}
	line("# %s\n", clean(title))
	line("Licence: %s", clean(p.Licence))
	line("")
	line("Recorded from %s to %s (UTC), published by ipfsmon %s, format %s.", utc(i.First), utc(i.Last), clean(p.Version), formatVersion)
	line("")
	line("| monitor | from | to | hours with data | hours without | gaps noted | events missed in these, at most |")
	line("|---|---|---|---|---|---|---|")
	for _, m := range i.Monitors {
		without := 0
		for _, h := range m.Missing {
			without += int(h.To.Sub(h.From)/time.Hour) + 1
		}
		line("| %s | %s | %s | %d | %d | %d | %d |", clean(m.Name), utc(m.First), utc(m.Last), m.Hours, without, m.Gaps, m.Missed)
	}
	line("")
	for _, m := range i.Monitors {
		for _, h := range m.Missing {
			line("* %s has nothing from %s to %s.", clean(m.Name), utc(h.From), utc(h.To.Add(time.Hour)))
		}
	}
	line("")
	line("| table | one row is | rows |")
	line("|---|---|---|")
	for _, t := range Tables() {
		if n := i.Rows[t.Name]; n > 0 {
			line("| %s | %s | %d |", t.Name, t.Row, n)
		}
	}
	line(`
` + "`_catalog.json`" + ` describes every column, ` + "`SHA256SUMS`" + ` has the checksums. Hours in the folders' names are UTC. With DuckDB:

    SELECT cid, count(*) AS wants, count(DISTINCT peer) AS peers
    FROM read_parquet('wants/**/*.parquet', hive_partitioning = true, hive_types = {'hour': BIGINT})
    WHERE direction = 'received' AND type <> 'cancel' GROUP BY cid ORDER BY peers DESC LIMIT 20;

## What was changed

* Peer IDs, CIDs and the names of connections are pseudonyms: an HMAC-SHA256 with a secret of this publication alone. The same
  peer has the same pseudonym in all of it, and another one anywhere else. A pseudonym has the form of what it stands for (a
  CID keeps its version and codec), so that programs can read it; nobody has such a block.
* IP addresses are cut to /24 (IPv4) and /48 (IPv6); ports are 0; names of hosts, keys and relays' peers are left out.
* Texts that peers chose (agents, protocols) are as they were, except those that name a peer, a CID or an address of the trace:
  these read ` + "`" + Withheld + "`" + `.
* Times, sizes, types, countries and the order of events are as they were.

Pseudonyms hide names, not behaviour: who knows one thing that a peer asked for, and when, can find it in here. Do not try.`)
	return b.Bytes()
}

func utc(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
