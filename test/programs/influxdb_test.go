//go:build programs || all

package programs

import (
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// deliversAll sends 20,000 events to a real InfluxDB that at first refuses the
// secret and later takes another one, and counts them on the server.
func deliversAll(t *testing.T, d *harness.Database) {
	all, points := harness.Events(t, 20_000)
	for _, m := range schema.All {
		require.Equal(t, m.OfRollups(), points[m.Name] == 0, "no event makes a point of %s", m.Name)
	}
	write := func(secret string) { require.NoError(t, os.WriteFile(d.SecretFile, []byte(secret+"\n"), 0o600)) }

	write("not-the-right-one")
	r := harness.RunSink(t, d.Config)
	r.Publish(all[:8_000])
	r.Until("refused for its secret", func(s influx.Stats) bool { return s.Failing && s.Events == 8_000 })
	require.Zero(t, r.Stats().Stored)
	require.Regexp(t, "unauthorized|authorization failed", r.Stats().LastError)
	write(d.Secret)
	r.Until("all stored with the right secret", func(s influx.Stats) bool { return s.Accepted == s.Stored && s.Events == 8_000 && s.Queued == 0 })

	next := d.Rotate()
	r.Publish(all[8_000:16_000])
	r.Until("refused for its old secret", func(s influx.Stats) bool { return s.Failing && s.Events == 16_000 })
	write(next)
	r.Until("all stored with the new secret", func(s influx.Stats) bool { return s.Accepted == s.Stored && s.Events == 16_000 && s.Queued == 0 })
	r.Publish(all[16_000:])
	r.Finish(harness.Sum(points), 0)
	d.Counted(t, points)

	rows := d.Ask(t, "SELECT sum(messages) FROM totals.traffic WHERE direction='sent'")
	require.EqualValues(t, points["traffic"]/2*4, rows[0]["sum"])
	rows = d.Ask(t, "SELECT first(agent) FROM identifies")
	require.Equal(t, "kubo \"0.43\"\\, a b=c\uFFFD", rows[0]["first"], "a text comes back as it was")
}

// refusesJustOne first writes a field of another type to the server, so that it
// refuses all points of one measurement: they are counted, the others stored.
func refusesJustOne(t *testing.T, d *harness.Database) {
	other := *d
	other.Config.Database = "other"
	if d.Config.Org != "" {
		other.Config.Bucket = "other"
	}
	require.NoError(t, client.Setup(t.Context(), other.Config))
	params := url.Values{"db": {"other"}, "rp": {"history"}}
	path := "/write"
	if d.Config.Org != "" {
		params, path = url.Values{"org": {d.Config.Org}, "bucket": {"other/history"}}, "/api/v2/write"
	}
	all, points := harness.Events(t, 2_000)
	status, body := other.Call(t, "POST", path, params, fmt.Sprintf("blocks size=\"text\" %d\n", all[0].Time))
	require.Equal(t, 204, status, string(body))

	r := harness.RunSink(t, other.Config)
	r.Publish(all)
	r.Finish(harness.Sum(points)-points["blocks"], points["blocks"])
	require.Contains(t, r.Stats().LastError, "size")
	rows := other.Ask(t, "SELECT count(*) FROM blocks")
	require.EqualValues(t, 1, rows[0]["count_size"])
	for _, m := range schema.All {
		if m.Name == "blocks" || m.OfRollups() {
			continue
		}
		rows := other.Ask(t, fmt.Sprintf("SELECT count(%s) FROM %s.%s", m.Fields[0].Key, m.Kind, m.Name))
		require.EqualValues(t, points[m.Name], rows[0]["count"], m.Name)
	}
}
