//go:build programs || all

package programs

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/archive"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// answer is what DuckDB returned for one statement.
type answer struct {
	Columns, Types []string
	Rows           [][]any
}

// npmPackages returns a copy of a folder here with the packages that its package.json names.
func npmPackages(t *testing.T, folder string) string {
	t.Helper()
	packages := t.TempDir()
	require.NoError(t, os.CopyFS(packages, os.DirFS(folder)))
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = packages
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "npm ci: %s", out)
	return packages
}

// duckDB returns a function that runs statements in a folder, with DuckDB as npm has it.
func duckDB(t *testing.T) func(dir string, statements ...string) []answer {
	t.Helper()
	packages := npmPackages(t, "duckdb")
	return func(dir string, statements ...string) (answers []answer) {
		t.Helper()
		in, err := json.Marshal(statements)
		require.NoError(t, err)
		cmd := exec.Command("node", filepath.Join(packages, "run.mjs"), "rows")
		cmd.Dir, cmd.Stdin = dir, bytes.NewReader(in)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, stderr.String())
		require.NoError(t, json.Unmarshal(out, &answers), string(out))
		require.Len(t, answers, len(statements))
		return answers
	}
}

// TestResearch runs each SQL block of docs/research.md, in its order, on an archive of
// a demo: each has rows, and DuckDB finds the types that the catalogue names, and as many rows as
// the archive says that it has.
func TestResearch(t *testing.T) {
	t.Parallel()
	ask := duckDB(t)
	home := t.TempDir()
	demo := harness.Start(t, harness.Environ(home), "demo", "--duration", "45s", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2")
	stream := demo.Find(`TCP server listening on (\S+)`)
	record := harness.Start(t, harness.Environ(home), "record", "--format", "parquet", "--all", "--once", "--from", stream, filepath.Join(home, "archive"))
	require.Zero(t, demo.Wait(3*time.Minute), demo.Out.String())
	record.Wait(time.Minute) // the end of the stream is its error
	verify := harness.Start(t, harness.Environ(home), "archive", "verify", filepath.Join(home, "archive"))
	require.Zero(t, verify.Wait(time.Minute), verify.Out.String())

	doc, err := os.ReadFile(filepath.Join(harness.Root, "docs", "research.md"))
	require.NoError(t, err)
	var statements []string
	for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		for _, s := range strings.Split(m[1], ";\n") {
			if strings.TrimSpace(s) != "" {
				statements = append(statements, s)
			}
		}
	}
	require.Greater(t, len(statements), 15)
	for i, a := range ask(home, statements...) {
		if !strings.HasPrefix(statements[i], "CREATE VIEW") {
			require.NotEmpty(t, a.Rows, statements[i])
		}
	}
	csv, err := os.ReadFile(filepath.Join(home, "popularity.csv"))
	require.NoError(t, err)
	require.Greater(t, strings.Count(string(csv), "\n"), 1)

	info, err := archive.Look(t.Context(), filepath.Join(home, "archive"), nil)
	require.NoError(t, err)
	types := map[string]map[string]string{}
	var count, describe, names []string
	for _, table := range archive.Tables() {
		if info.Rows[table.Name] == 0 {
			continue
		}
		names = append(names, table.Name)
		types[table.Name] = map[string]string{"monitor": "VARCHAR", "date": "DATE", "hour": "BIGINT"}
		for _, c := range table.Columns {
			types[table.Name][c.Name] = c.Type
		}
		from := "read_parquet('archive/" + table.Name + "/**/*.parquet', hive_partitioning = true, hive_types = {'hour': BIGINT})"
		count = append(count, "SELECT count(*)::INTEGER FROM "+from)
		describe = append(describe, "SELECT * FROM "+from+" LIMIT 1")
	}
	require.Greater(t, len(names), 8)
	for i, a := range ask(home, count...) {
		require.EqualValues(t, info.Rows[names[i]], a.Rows[0][0], names[i])
	}
	for i, a := range ask(home, describe...) {
		got := map[string]string{}
		for j, c := range a.Columns {
			got[c] = a.Types[j]
		}
		require.Equal(t, types[names[i]], got, names[i])
	}
	if inPolars != nil {
		inPolars(t, home, ask)
	}

	// Answers and points of the store as single tables.
	env, data := harness.Environ(home), filepath.Join(home, ".ipfsmon", "demo", "ipfsmon")
	kept := func(file string, args ...string) string {
		t.Helper()
		code, out, stderr := harness.Apart(t, env, append(args, "--data", data)...)
		require.Zero(t, code, stderr)
		require.NoError(t, os.WriteFile(filepath.Join(home, file), []byte(out), 0o600))
		return out
	}
	const statement = "SELECT want_have, messages, direction FROM totals.traffic"
	rows := strings.Count(kept("traffic.csv", "query", "--format", "csv", statement), "\n") - 1
	require.Greater(t, rows, 10)
	kept("traffic.parquet", "query", "--format", "parquet", statement)
	kept("top.parquet", "query", "top-cids", "--since", "1h", "--format", "parquet")
	kept("export.out", "export", "--kind", "totals", "--format", "parquet", "--to", filepath.Join(home, "totals"))
	answers := ask(home, "SELECT count(*)::INTEGER, sum(messages)::INTEGER, any_value(typeof(time)) FROM 'traffic.parquet'",
		"SELECT count(*)::INTEGER, sum(messages)::INTEGER, any_value(typeof(time)) FROM 'totals/traffic.parquet'",
		"SELECT sum(messages)::INTEGER FROM 'traffic.csv'",
		"SELECT cid, wants, peers FROM 'top.parquet'",
		"SELECT text, node FROM 'totals/notes.parquet' WHERE kind = 'start'")
	require.EqualValues(t, rows, answers[0].Rows[0][0])
	require.Equal(t, "TIMESTAMP_NS", answers[0].Rows[0][2])
	require.Equal(t, answers[0].Rows, answers[1].Rows)
	require.Equal(t, answers[0].Rows[0][1], answers[2].Rows[0][0])
	require.Len(t, answers[3].Rows, 20)
	require.NotEmpty(t, answers[4].Rows)
}

// inPolars asks the same of polars, where its binary is named here; nil elsewhere.
var inPolars func(t *testing.T, home string, ask func(dir string, statements ...string) []answer)
