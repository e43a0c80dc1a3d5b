package influx

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Question is a query with a name. Its text has {since}, a duration, {every},
// the length of a step in it, and, in Flux, {bucket}, before they are put in.
type Question struct {
	Name     string
	Asks     string
	Since    string // unless told otherwise
	InfluxQL string
	Flux     string // gives the same answer
	Note     string
}

// Questions are asked by `ipfsmon query NAME`; docs/queries.md is made of them.
var Questions = []Question{
	{
		Name: "wants", Asks: "How many wants come and go?", Since: "1h",
		InfluxQL: `SELECT count(cid) AS wants FROM wants WHERE time > now() - {since} GROUP BY time({every}), direction fill(0)`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "wants" and r._field == "cid")
  |> group(columns: ["direction"]) |> aggregateWindow(every: {every}, fn: count)`,
	},
	{
		Name: "top-cids", Asks: "Which CIDs are wanted most?", Since: "1h",
		InfluxQL: `SELECT top(wants, 20) AS wants, cid, peers FROM totals.top_cids WHERE time > now() - {since} AND list = 'wants'`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_cids" and r.list == "wants")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["wants"], desc: true) |> limit(n: 20) |> keep(columns: ["_time", "wants", "cid", "peers"])`,
		Note: "Each row is one CID in one interval of the derived figures, so a CID may be there more than once.",
	},
	{
		Name: "top-peers", Asks: "Which peers want most?", Since: "1h",
		InfluxQL: `SELECT top(wants, 20) AS wants, peer, agent FROM totals.top_peers WHERE time > now() - {since}`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "top_peers")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["wants"], desc: true) |> limit(n: 20) |> keep(columns: ["_time", "wants", "peer", "agent"])`,
	},
	{
		Name: "blocks", Asks: "How much data flows in and out?", Since: "1d",
		InfluxQL: `SELECT sum(blocks) AS blocks, sum(block_bytes) AS bytes FROM totals.traffic WHERE time > now() - {since} GROUP BY time({every}), direction fill(0)`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "traffic" and (r._field == "blocks" or r._field == "block_bytes"))
  |> group(columns: ["direction", "_field"]) |> aggregateWindow(every: {every}, fn: sum)`,
	},
	{
		Name: "peers", Asks: "How many peers are connected, and how?", Since: "5m",
		InfluxQL: `SELECT last(connected) AS peers FROM totals.peers WHERE time > now() - {since} GROUP BY direction, transport`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "peers" and r._field == "connected")
  |> group(columns: ["direction", "transport"]) |> last()`,
	},
	{
		Name: "agents", Asks: "Which software do the peers run?", Since: "5m",
		InfluxQL: `SELECT last(peers) AS peers FROM totals.agent_versions WHERE time > now() - {since} GROUP BY agent`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "agent_versions" and r._field == "peers")
  |> group(columns: ["agent"]) |> last()`,
	},
	{
		Name: "protocols", Asks: "What do the peers speak?", Since: "5m",
		InfluxQL: `SELECT last(peers) AS peers FROM totals.protocols WHERE time > now() - {since} GROUP BY protocol`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "protocols" and r._field == "peers")
  |> group(columns: ["protocol"]) |> last()`,
	},
	{
		Name: "latency", Asks: "How fast are wants answered?", Since: "1d",
		InfluxQL: `SELECT max(p50_us) AS p50_us, max(p99_us) AS p99_us FROM totals.latency_totals WHERE time > now() - {since} AND answers > 0 GROUP BY direction, answer`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "latency_totals" and (r._field == "p50_us" or r._field == "p99_us") and r._value > 0)
  |> group(columns: ["direction", "answer", "_field"]) |> max()`,
		Note: "Quantiles of quantiles are none, so this tells the worst interval. Direction sent: how fast others answer this node.",
	},
	{
		Name: "durations", Asks: "How long do connections live?", Since: "1d",
		InfluxQL: `SELECT median(duration_ms) AS median_ms FROM connections WHERE time > now() - {since} AND state = 'closed' GROUP BY transport, direction`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "connections" and r._field == "duration_ms" and r.state == "closed")
  |> toFloat() |> group(columns: ["transport", "direction"]) |> median()`,
	},
	{
		Name: "who-has", Asks: "Who told last that it has what?", Since: "1h",
		InfluxQL: `SELECT cid, peer, country FROM presences WHERE time > now() - {since} AND type = 'have' ORDER BY time DESC LIMIT 20`,
		Flux: `from(bucket: "{bucket}/history") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "presences" and r.type == "have")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group() |> sort(columns: ["_time"], desc: true) |> limit(n: 20) |> keep(columns: ["_time", "cid", "peer", "country"])`,
	},
	{
		Name: "unique", Asks: "How many different CIDs and peers are there?", Since: "1d",
		InfluxQL: `SELECT max(cids) AS cids, max(peers) AS peers FROM totals.unique WHERE time > now() - {since} GROUP BY time({every}), direction`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "unique" and (r._field == "cids" or r._field == "peers"))
  |> group(columns: ["direction", "_field"]) |> aggregateWindow(every: {every}, fn: max)`,
	},
	{
		Name: "duplicates", Asks: "How many wants are repeats?", Since: "1d",
		InfluxQL: `SELECT sum(duplicates) AS duplicates, sum(rebroadcasts) AS rebroadcasts FROM totals.duplicates WHERE time > now() - {since} GROUP BY direction`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "duplicates" and r._field != "interval_ms")
  |> group(columns: ["direction", "_field"]) |> sum()`,
	},
	{
		Name: "codecs", Asks: "What kinds of data are wanted?", Since: "1d",
		InfluxQL: `SELECT sum(wants) AS wants FROM totals.codecs WHERE time > now() - {since} GROUP BY codec`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "codecs" and r._field == "wants")
  |> group(columns: ["codec"]) |> sum()`,
	},
	{
		Name: "countries", Asks: "Where do wants come from?", Since: "1d",
		InfluxQL: `SELECT sum(wants) AS wants FROM totals.origins WHERE time > now() - {since} AND direction = 'received' GROUP BY country, gateway`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "origins" and r._field == "wants" and r.direction == "received")
  |> group(columns: ["country", "gateway"]) |> sum()`,
		Note: "All are none unless the monitor has a database of countries (GeoIPDatabase).",
	},
	{
		Name: "bandwidth", Asks: "Which protocols use the line?", Since: "1h",
		InfluxQL: `SELECT max(in_rate) AS in_rate, max(out_rate) AS out_rate FROM totals.bandwidth WHERE time > now() - {since} GROUP BY protocol`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "bandwidth" and (r._field == "in_rate" or r._field == "out_rate"))
  |> group(columns: ["protocol", "_field"]) |> max()`,
	},
	{
		Name: "losses", Asks: "Does the monitor lose anything?", Since: "1d",
		InfluxQL: `SELECT spread(missed) AS missed, spread(dropped) AS dropped, spread(rejected) AS rejected, max(lag_ms) AS lag_ms FROM totals.pipeline WHERE time > now() - {since} GROUP BY time({every}) fill(none)`,
		Flux: `from(bucket: "{bucket}/totals") |> range(start: -{since})
  |> filter(fn: (r) => r._measurement == "pipeline" and (r._field == "missed" or r._field == "dropped" or r._field == "rejected"))
  |> group(columns: ["_field"]) |> window(every: {every}) |> spread()`,
	},
}

// Ask finds a question by its name.
func Ask(name string) (Question, error) {
	i := slices.IndexFunc(Questions, func(q Question) bool { return q.Name == name })
	if i < 0 {
		return Question{}, fmt.Errorf("no query is named %q; there are %s", name, strings.Join(QuestionNames(), ", "))
	}
	return Questions[i], nil
}

// QuestionNames lists the names of all questions.
func QuestionNames() (names []string) {
	for _, q := range Questions {
		names = append(names, q.Name)
	}
	return names
}

// Fill puts the time, 1h or 7d, into a statement that has {since} or {every},
// and the bucket's name.
func Fill(statement, since, bucket string) (string, error) {
	d, err := parseSpan(since)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("{since}", since, "{every}", every(d), "{bucket}", bucket).Replace(statement), nil
}

// Since gives a statement that has no time of its own one: its last {since},
// or, if it is a SELECT without WHERE on time, the condition that the time is
// after now less that much. What has a time already, or no place for one, is
// refused, for what was meant cannot be known.
func Since(statement, since, bucket string, flux bool) (string, error) {
	if strings.Contains(statement, "{since}") {
		return Fill(statement, since, bucket)
	}
	if _, err := parseSpan(since); err != nil {
		return "", err
	}
	if flux {
		return "", fmt.Errorf("a Flux query needs {since} where the time shall be put: range(start: -{since})")
	}
	statement = strings.TrimRight(statement, " \n\t;")
	at, after, err := conditionPlace(statement)
	if err != nil {
		return "", err
	}
	condition := fmt.Sprintf("time > now() - %s", since)
	if after { // there is a WHERE: the old condition in brackets
		where, rest := statement[:at[0]], statement[at[1]:]
		old := strings.TrimSpace(statement[at[0]:at[1]])
		return strings.TrimRight(fmt.Sprintf("%s %s AND (%s) %s", where, condition, old, strings.TrimSpace(rest)), " "), nil
	}
	return strings.TrimRight(fmt.Sprintf("%s WHERE %s %s", strings.TrimRight(statement[:at[0]], " \n\t"), condition, strings.TrimSpace(statement[at[0]:])), " "), nil
}

// conditionPlace finds in a SELECT the part between WHERE and what follows, or
// the place where a WHERE would be. Words in quotes and brackets are
// passed over.
func conditionPlace(s string) (at [2]int, where bool, err error) {
	words := words(s)
	if len(words) == 0 || words[0].text != "select" {
		return at, false, fmt.Errorf("--since goes with one SELECT, or a statement that has {since} where the time shall be put")
	}
	at = [2]int{len(s), len(s)}
	for _, w := range words {
		if w.depth > 0 {
			if where && (w.text == "time" || w.text == `"time"`) {
				return at, false, errOwnTime
			}
			continue
		}
		switch w.text {
		case "where":
			at[0], where = w.at+len("where"), true
		case "time", `"time"`:
			if where {
				return at, false, errOwnTime
			}
		case ";", "into":
			return at, false, fmt.Errorf("--since goes with one SELECT that only reads")
		}
		if w.text == "group" || w.text == "fill" || w.text == "order" || w.text == "limit" || w.text == "offset" || w.text == "slimit" || w.text == "soffset" || w.text == "tz" {
			at[1] = w.at
			if !where {
				at[0] = w.at
			}
			break
		}
	}
	return at, where, nil
}

var errOwnTime = errors.New("the statement has a time of its own; leave --since away, or write {since} in it: time > now() - {since}")

type word struct {
	text  string // in lower case
	at    int
	depth int // of brackets
}

var spanPattern = regexp.MustCompile(`^([0-9]+(ms|s|m|h|d|w))+$`)
var spanPart = regexp.MustCompile(`([0-9]+)(ms|s|m|h|d|w)`)

// parseSpan reads a duration as InfluxQL and Flux both have it.
func parseSpan(s string) (time.Duration, error) {
	if !spanPattern.MatchString(s) {
		return 0, fmt.Errorf("time %q; allowed is a number and ms, s, m, h, d or w, such as 90s, 1h or 7d", s)
	}
	unit := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	var d time.Duration
	for _, m := range spanPart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil || d+time.Duration(n)*unit[m[2]] > 100*365*24*time.Hour {
			return 0, fmt.Errorf("time %q; allowed are at most 100 years", s)
		}
		d += time.Duration(n) * unit[m[2]]
	}
	if d <= 0 {
		return 0, fmt.Errorf("time %q; allowed is more than nothing", s)
	}
	return d, nil
}

// every is a round step, so that some sixty of them make the time.
func every(d time.Duration) string {
	for _, step := range []struct {
		d    time.Duration
		text string
	}{
		{time.Second, "1s"}, {5 * time.Second, "5s"}, {10 * time.Second, "10s"}, {30 * time.Second, "30s"}, {time.Minute, "1m"}, {5 * time.Minute, "5m"},
		{10 * time.Minute, "10m"}, {30 * time.Minute, "30m"}, {time.Hour, "1h"}, {3 * time.Hour, "3h"}, {12 * time.Hour, "12h"}, {24 * time.Hour, "1d"},
	} {
		if d <= 100*step.d {
			return step.text
		}
	}
	return "7d"
}

// words lists the words of InfluxQL; what is in quotes is one word, with them.
func words(s string) (words []word) {
	depth := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\'' || c == '"' || c == '/' && regexpBegins(s[:i]):
			j := i + 1
			for j < len(s) && s[j] != c {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			end := min(j+1, len(s))
			words = append(words, word{strings.ToLower(s[i:end]), i, depth})
			i = end
			continue
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ';':
			words = append(words, word{";", i, depth})
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			j := i
			for j < len(s) && (s[j] == '_' || s[j] >= 'a' && s[j] <= 'z' || s[j] >= 'A' && s[j] <= 'Z' || s[j] >= '0' && s[j] <= '9') {
				j++
			}
			words = append(words, word{strings.ToLower(s[i:j]), i, depth})
			i = j
			continue
		}
		i++
	}
	return words
}

// regexpBegins says whether a slash after this text begins a pattern: after an
// operator, FROM, or a comma; else it divides.
func regexpBegins(before string) bool {
	b := strings.TrimRight(before, " \n\t")
	return strings.HasSuffix(b, "~") || strings.HasSuffix(b, ",") || strings.HasSuffix(strings.ToLower(b), "from") || strings.HasSuffix(strings.ToLower(b), "by") || strings.HasSuffix(b, ".")
}
