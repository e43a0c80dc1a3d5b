package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ipfsmon/ipfsmon/archive/answer"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/plugin"
)

// queryCommand queries the store.
func queryCommand() *cli.Command {
	return &cli.Command{
		Name:      "query",
		Usage:     "query the store in InfluxQL, Flux or SQL",
		ArgsUsage: `[NAME or "SELECT ..."]`,
		Description: "Queries the server of --url, the data folder of --data, or the monitor of --repo (IPFS_PATH). Without these: the\n" +
			"InfluxDB of IPFSMON_INFLUXDB_URL; where the running monitor writes to, the node's before the demo's; the data of a\n" +
			"stopped one. A data folder is queried through its running monitor, or else served for as long as the query takes.\n" +
			"The embedded store is queried as user reader, who can change nothing; --write permits statements that change data.\n" +
			"docs/schema.md lists what is stored, docs/queries.md and --list the named queries.\n\n" +
			"Example: ipfsmon query top-cids --since 6h\n" +
			"         ipfsmon query wants --plot\n" +
			"         ipfsmon query top-cids --from 2026-11-20 --to 2026-11-21 --tz Europe/Berlin --limit 100\n" +
			"         ipfsmon query \"SELECT count(cid) FROM wants WHERE time > now() - 1h GROUP BY direction, type\"\n" +
			"         ipfsmon query \"SELECT sum(blocks) FROM totals.traffic GROUP BY direction\" --format json\n" +
			"         ipfsmon query top-cids --since 6h --format parquet > top.parquet\n" +
			"         ipfsmon query --sql \"SELECT direction, sum(blocks) FROM traffic GROUP BY direction\"\n" +
			"         ipfsmon query --flux 'from(bucket: \"ipfsmon/history\") |> range(start: -1h)\n" +
			"                   |> filter(fn: (r) => r._measurement == \"blocks\" and r._field == \"size\") |> sum()'",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "flux", Usage: "`QUERY` in Flux instead of InfluxQL"},
			&cli.StringFlag{Name: "sql", Usage: "`QUERY` in SQL, of an InfluxDB 3"},
			&cli.StringFlag{Name: "kind", Usage: "`KIND` of the tables that --sql reads, history or totals (default: that of the tables after FROM and JOIN)"},
			&cli.StringFlag{Name: "language", Value: "influxql", Usage: "`LANGUAGE` of a named query: influxql or flux"},
			&cli.StringFlag{Name: "since", Usage: "query the last `TIME`, such as 90s, 6h or 7d: replaces {since} in the statement, or adds a condition to a SELECT"},
			&cli.StringFlag{Name: "from", Usage: "query from `TIME` on, such as 2026-11-20, 2026-11-20T15:04, 2026-11-20T15:04:05+02:00, or 6h before now"},
			&cli.StringFlag{Name: "to", Usage: "query up to `TIME`, in the same forms; with --since the time before it (default: now)"},
			&cli.StringFlag{Name: "tz", Usage: "`ZONE` of --from and --to, of the times in the answer, and of days in InfluxQL's GROUP BY time(): local, UTC or a name such as Europe/Berlin (default: UTC)"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` rows; how long the lists of named questions are"},
			&cli.BoolFlag{Name: "exact", Usage: "have a named question read history however many points it has, in place of sums"},
			&cli.BoolFlag{Name: "write", Usage: "permit a statement that changes data; query the embedded InfluxDB as user monitor"},
			&cli.BoolFlag{Name: "plot", Usage: "plot the result with characters"},
			&cli.BoolFlag{Name: "list", Usage: "list the named queries"},
			&cli.BoolFlag{Name: "print", Usage: "print the statement instead of running it"},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT`: table, csv, json or parquet (default: table on a terminal, csv elsewhere)"},
		}, targetFlags()...),
		Action: func(c *cli.Context) error {
			err := runQuery(c)
			if refused := (*client.QueryError)(nil); errors.As(err, &refused) {
				return cli.Exit(refused.Message, 1) // the server's own words
			}
			return err
		},
	}
}

func runQuery(c *cli.Context) error {
	if c.Bool("list") {
		t := textout.NewTable(os.Stdout)
		for _, q := range query.Questions {
			t.Row(q.Name, fmt.Sprintf("%s The last %s.", q.Asks, q.Since))
		}
		return t.Flush()
	}
	statement, flux := c.Args().First(), c.IsSet("flux")
	if flux {
		statement = c.String("flux")
	}
	sql := c.IsSet("sql")
	if sql {
		statement = c.String("sql")
	}
	if sql && c.NArg() > 0 {
		return wrongUse(c, "--sql %q and %q: want one statement", statement, c.Args().First())
	}
	for _, other := range []string{"flux", "language", "since", "from", "to", "tz", "write"} {
		if sql && c.IsSet(other) {
			return wrongUse(c, "--%s is not for --sql, whose statement only reads and has its times in it", other)
		}
	}
	var kind schema.Kind
	switch text := c.String("kind"); {
	case !sql && text != "":
		return wrongUse(c, "--kind is for --sql; InfluxQL names the retention policy, as in totals.traffic")
	case text == schema.Totals.String():
		kind = schema.Totals
	case text != "" && text != schema.History.String():
		return wrongUse(c, "--kind %q: want history or totals", text)
	case sql && text == "":
		var err error
		if kind, err = client.SQLKind(statement); err != nil {
			return wrongUse(c, "%w", err)
		}
	}
	if strings.TrimSpace(statement) == "" || flux && c.NArg() > 0 {
		return wrongUse(c, `want a name (--list), or one statement in quotes, "SELECT ..." or --flux 'from(...)'`)
	}
	since, zone, err := queriedTime(c)
	if err != nil {
		return wrongUse(c, "%w", err)
	}
	if c.IsSet("limit") && c.Int("limit") < 1 {
		return wrongUse(c, "--limit %d: want 1 or more", c.Int("limit"))
	}
	var question query.Question
	named := !flux && !sql && !strings.ContainsAny(statement, " \t\n")
	if named {
		if question, err = query.Named(statement); err != nil {
			return wrongUse(c, "%w", err)
		}
		if c.IsSet("limit") {
			question = question.WithLimit(c.Int("limit"))
		}
		if zone != nil {
			question = question.WithZone(zone)
		}
		if c.Bool("exact") {
			question = question.Exact()
		}
		switch c.String("language") {
		case "influxql":
			statement = question.InfluxQL
		case "flux":
			statement, flux = question.Flux, true
		default:
			return wrongUse(c, "--language %q: want influxql or flux", c.String("language"))
		}
		since = cmp.Or(since, question.Since)
	}
	var out client.Output
	if c.Bool("plot") {
		if c.IsSet("format") {
			return wrongUse(c, "--plot beside --format: want one of them")
		}
		width, _, err := term.GetSize(int(os.Stdout.Fd()))
		if err != nil {
			width = 80
		}
		out = query.NewPlot(textout.ForTerminal(os.Stdout), width)
	} else {
		format := c.String("format")
		if format == "" {
			format = "csv"
			if term.IsTerminal(int(os.Stdout.Fd())) {
				format = "table"
			}
		}
		if format == "parquet" {
			if term.IsTerminal(int(os.Stdout.Fd())) {
				return wrongUse(c, "--format parquet on a terminal: want a file, as in > answer.parquet")
			}
			if out, err = answer.New(os.Stdout, nil); err != nil {
				return fmt.Errorf("query: %w", err)
			}
		} else if out, err = query.NewOutput(format, textout.ForTerminal(os.Stdout)); err != nil {
			return wrongUse(c, "%w", err)
		}
	}
	if since != "" { // report an invalid value before a store is opened
		if _, err := query.Since(statement, since, "", flux); err != nil {
			return wrongUse(c, "%w", err)
		}
	} else if strings.Contains(statement, "{since}") {
		return wrongUse(c, "the statement has {since}; want --since, such as --since 6h")
	}
	if zone != nil {
		out = query.InZone(out, zone)
	}
	if c.IsSet("limit") {
		out = query.Limit(out, c.Int("limit"))
	}
	if zone != nil && !flux && !named {
		statement = query.WithZone(statement, zone)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if term.IsTerminal(int(os.Stderr.Fd())) && !c.Bool("print") {
		p := newProgress(os.Stderr, out, term.IsTerminal(int(os.Stdout.Fd())))
		defer p.stop()
		out = p
	}
	if !c.Bool("write") && !c.Bool("print") && !sql {
		if err := query.ReadsOnly(statement, flux); err != nil {
			return wrongUse(c, "%w; give --write if you mean it", err)
		}
	}
	cfg, end, err := queryTarget(ctx, c, c.Bool("write"))
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	defer end()
	server, err := client.New(cfg)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	defer server.Close()
	if since != "" {
		if statement, err = query.Since(statement, since, server.BucketPrefix(), flux); err != nil {
			return fmt.Errorf("query: %w", err)
		}
	}
	if c.Bool("print") {
		fmt.Println(statement)
		return nil
	}
	if sql {
		err := server.SQL(ctx, statement, kind, out)
		if errors.Is(err, query.ErrLimit) {
			fmt.Fprintf(os.Stderr, "ipfsmon: the first %d rows; there are more\n", c.Int("limit"))
			return out.Close()
		}
		return err
	}
	if !named {
		question, since = query.Question{InfluxQL: statement, Flux: statement}, ""
	}
	if !flux {
		for _, warning := range query.LosesPoints(statement, time.Now()) {
			fmt.Fprintln(os.Stderr, "ipfsmon:", warning)
		}
	}
	rows, err := question.Ask(ctx, server, since, flux, out, func(note string) { fmt.Fprintln(os.Stderr, "ipfsmon:", note) })
	if refused := (*client.QueryError)(nil); errors.As(err, &refused) && cfg.Username == embedded.ReaderUser && strings.Contains(refused.Message, "requires READ on") {
		// A reader gets its right with the database, and that is made with the first points.
		fmt.Fprintln(os.Stderr, "ipfsmon: no rows: nothing is stored yet; the first points come some seconds after the monitor's start")
		return out.Close()
	}
	if errors.Is(err, query.ErrLimit) {
		fmt.Fprintf(os.Stderr, "ipfsmon: the first %d rows; there are more\n", c.Int("limit"))
		return out.Close()
	}
	if err != nil {
		return err
	}
	if rows > 0 && named {
		if beside := question.Coverage(ctx, server, since); beside != "" {
			fmt.Fprintln(os.Stderr, "ipfsmon:", beside)
		}
	}
	if rows == 0 && (flux || !isStatement(statement)) {
		fmt.Fprintln(os.Stderr, "ipfsmon: no rows")
		for _, hint := range query.Hints(statement, flux) {
			fmt.Fprintln(os.Stderr, "ipfsmon:", hint)
		}
	}
	return nil
}

// queriedTime returns the time that the flags ask for, as query.Since has it, or "", and the zone of --tz, or nil.
func queriedTime(c *cli.Context) (since string, zone *time.Location, err error) {
	if c.IsSet("tz") {
		if zone, err = query.Zone(c.String("tz")); err != nil {
			return "", nil, fmt.Errorf("--tz: %w", err)
		}
	}
	var before time.Duration
	if since = c.String("since"); since != "" {
		if before, err = units.ParseDuration(since); err != nil {
			return "", nil, fmt.Errorf("--since %w", err)
		}
		if strings.Contains(since, ".") { // which InfluxQL does not have
			since = fmt.Sprintf("%dms", before.Milliseconds())
		}
	}
	if !c.IsSet("from") && !c.IsSet("to") {
		return since, zone, nil
	}
	now := time.Now()
	from, to := now, now
	for flag, at := range map[string]*time.Time{"from": &from, "to": &to} {
		if c.IsSet(flag) {
			if *at, err = query.ParseTime(c.String(flag), now, cmp.Or(zone, time.UTC)); err != nil {
				return "", nil, fmt.Errorf("--%s %w", flag, err)
			}
		}
	}
	switch {
	case c.IsSet("from") && since != "":
		return "", nil, errors.New("--from beside --since: want one of them")
	case !c.IsSet("from") && since == "":
		return "", nil, errors.New("--to alone: want --from or --since beside it")
	case !c.IsSet("from"):
		from = to.Add(-before)
	}
	if !from.Before(to) {
		return "", nil, fmt.Errorf("--from %s is not before --to %s", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	}
	return query.Between(from, to), zone, nil
}

// isStatement reports whether a statement changes something, so that no rows
// are no surprise.
func isStatement(text string) bool { return query.ReadsOnly(text, false) != nil }

// queryTarget finds the server to query, and starts it if necessary; end stops it
// again. An embedded store is queried as user reader, unless write is set or the
// flags name a user.
func queryTarget(ctx context.Context, c *cli.Context, write bool) (cfg influx.Config, end func(), err error) {
	end = func() {}
	data := c.String("data")
	switch {
	case c.IsSet("url"):
		err = settings.FromEnv("IPFSMON_INFLUXDB", &cfg)
		cfg.URL = c.String("url")
	case data == "":
		given := c.String("repo")
		if given == "" && os.Getenv("IPFSMON_INFLUXDB_URL") != "" {
			given, err = repoPath("") // use that server, whatever is running here
		}
		var m monitorAt
		if err == nil {
			m, err = findMonitor(given, hasStore)
		}
		if err == nil {
			cfg, data, err = m.config()
		}
	}
	if err != nil {
		return cfg, end, err
	}
	for flag, key := range map[string]*string{
		"database": &cfg.Database, "username": &cfg.Username, "password": &cfg.Password,
		"password-file": &cfg.PasswordFile, "org": &cfg.Org, "token": &cfg.Token, "token-file": &cfg.TokenFile,
	} {
		if c.IsSet(flag) {
			*key = c.String(flag)
		}
	}
	if (c.IsSet("token") || c.IsSet("token-file")) && cfg.Org == "" && cfg.Version == "" {
		cfg.Version = "3" // which has no organisations
	}
	if cfg.URL != "" {
		return cfg, end, nil
	}
	url, end, err := embedded.OpenStore(ctx, data, schema.RollupNames())
	if err != nil {
		return cfg, func() {}, err
	}
	if c.IsSet("username") || c.IsSet("password") || c.IsSet("password-file") {
		cfg.URL = url
		return cfg, end, nil
	}
	useStore(&cfg, url, data)
	if reader := embedded.PasswordFile(data, embedded.ReaderUser); !write {
		if _, err := os.Stat(reader); err == nil { // otherwise the store is of a version without passwords
			cfg.Username, cfg.PasswordFile = embedded.ReaderUser, reader
		}
	}
	return cfg, end, nil
}

// configured returns the store of a repository's configuration: an InfluxDB with
// its URL, or the data folder of the embedded one.
func configured(repo string) (cfg influx.Config, data string, err error) {
	section, err := pluginSection(repo)
	if err != nil {
		return cfg, "", err
	}
	all, _, err := plugin.New(plugin.Options{Defaults: runDefaults}).Check(repo, section)
	if err != nil {
		return cfg, "", fmt.Errorf("configuration:\n%w", err)
	}
	if all.InfluxDB != nil {
		cfg = *all.InfluxDB
	}
	return cfg, all.DataFolder, nil
}
