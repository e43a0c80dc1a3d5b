package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// ofNetwork names the questions whose answers could be taken for the network's.
var ofNetwork = []string{"wants", "top-cids", "top-peers", "peers", "agents", "protocols", "who-has", "unique", "duplicates", "codecs", "countries", "missing-agent",
	"missing-cids", "hits", "want-kinds", "old-clients", "askers", "served", "newcomers", "transports"}

// OfNetwork reports whether the question's answer could be taken for the
// network's, so that it needs Coverage beside it.
func (q Question) OfNetwork() bool { return slices.Contains(ofNetwork, q.Name) }

// Coverage says in a sentence how many of the connected peers asked the nodes
// that the store has points of, at the end of the last minute within since. It
// returns "" if the question is not OfNetwork or the store has no coverage of that
// time.
func (q Question) Coverage(ctx context.Context, c *client.Client, since string) string {
	if !q.OfNetwork() {
		return ""
	}
	if since == "" {
		since = q.Since
	}
	of, err := Named("coverage")
	if err != nil {
		return ""
	}
	sums := &summing{of: map[string]uint64{}}
	if err := askOnce(ctx, c, of, since, false, &counting{Output: sums}); err != nil || sums.of["connected"] == 0 {
		return ""
	}
	return fmt.Sprintf("of this node, not of the network: of %d connected peers %d asked it since they connected, %d as peers ask all their peers (ipfsmon query coverage)",
		sums.of["connected"], sums.of["asked"], sums.of["broadcast"])
}

// summing is an Output that adds its columns of numbers up.
type summing struct {
	columns []string
	of      map[string]uint64
}

func (s *summing) Series(_ string, _ []client.Label, columns []string) error {
	s.columns = columns
	return nil
}

func (s *summing) Row(values []any) error {
	for i, v := range values {
		if n, err := strconv.ParseFloat(fmt.Sprint(v), 64); err == nil && n > 0 {
			s.of[s.columns[i]] += uint64(n)
		}
	}
	return nil
}

func (s *summing) Close() error { return nil }
