//go:build programs || all

package programs

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
	"github.com/ipfsmon/ipfsmon/probe"
	"github.com/ipfsmon/ipfsmon/probe/store"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// postgresServer is Debian's PostgreSQL with its own data folder.
type postgresServer struct {
	t        *testing.T
	bin, dir string
	port     string
	run      *harness.Process
	owner    *syscall.Credential // it does not run as root
}

func startPostgres(t *testing.T) *postgresServer {
	t.Helper()
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	require.NotEmpty(t, bins, "PostgreSQL is missing; on Debian: apt-get install --no-install-recommends postgresql")
	dir, err := os.MkdirTemp("/tmp", "ipfsmon-pg-") // t.TempDir is closed to another user
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &postgresServer{t: t, bin: filepath.Dir(bins[len(bins)-1]), dir: dir, port: harness.FreePort(t)}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		require.NoError(t, err)
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		require.NoError(t, os.Chown(dir, uid, gid))
		p.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	out, err := p.command("initdb", "-D", filepath.Join(dir, "data"), "-U", "parsec", "-A", "trust", "-N").CombinedOutput()
	require.NoError(t, err, string(out))
	p.start()
	c, err := pgx.Connect(context.Background(), p.url("postgres"))
	require.NoError(t, err)
	defer c.Close(context.Background())
	_, err = c.Exec(context.Background(), "CREATE DATABASE parsec")
	require.NoError(t, err)
	return p
}

func (p *postgresServer) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(p.bin, name), args...)
	c.Dir = p.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner, Setpgid: true}
	return c
}

func (p *postgresServer) start() {
	p.t.Helper()
	cmd := p.command("postgres", "-D", filepath.Join(p.dir, "data"), "-p", p.port, "-h", "127.0.0.1", "-k", p.dir, "-F")
	r := &harness.Process{T: p.t, Cmd: cmd, Out: &logtest.Buffer{}, Done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.Out, r.Out
	require.NoError(p.t, cmd.Start())
	go func() { // ends with the process
		_ = cmd.Wait()
		close(r.Done)
	}()
	p.t.Cleanup(r.Kill)
	p.run = r
	r.Find(`ready to accept (connections)`)
}

// stop ends it as a crash would.
func (p *postgresServer) stop() { p.run.Kill() }

func (p *postgresServer) url(database string) string {
	return fmt.Sprintf("postgres://parsec@127.0.0.1:%s/%s?sslmode=disable", p.port, database)
}

func (p *postgresServer) config() store.Config {
	port, err := strconv.Atoi(p.port)
	require.NoError(p.t, err)
	return store.Config{Host: "127.0.0.1", Port: port, Name: "parsec", User: "parsec", Password: "password"}
}

func (p *postgresServer) flags() []string {
	return []string{"--db-host", "127.0.0.1", "--db-port", p.port}
}

func (p *postgresServer) exec(statements ...string) {
	p.t.Helper()
	c, err := pgx.Connect(context.Background(), p.url("parsec"))
	require.NoError(p.t, err)
	defer c.Close(context.Background())
	for _, s := range statements {
		_, err := c.Exec(context.Background(), s)
		require.NoError(p.t, err, s)
	}
}

func (p *postgresServer) value(query string) string {
	p.t.Helper()
	c, err := pgx.Connect(context.Background(), p.url("parsec"))
	require.NoError(p.t, err)
	defer c.Close(context.Background())
	var v any
	require.NoError(p.t, c.QueryRow(context.Background(), query).Scan(&v))
	return fmt.Sprint(v)
}

// fillProbeStore writes the same to a store, a server at that port among it, and
// returns all that it has then.
func fillProbeStore(t *testing.T, cfg store.Config, port int) (nodes []store.Node, results []store.Result, refused bool) {
	t.Helper()
	ctx := context.Background()
	s, err := store.Open(ctx, cfg)
	require.NoError(t, err)
	defer s.Close()
	sched, err := s.AddScheduler(ctx, []string{"a", `b,"c"`}, json.RawMessage(`{"go": "1.26"}`))
	require.NoError(t, err)
	var ids []int
	for _, n := range []store.Node{
		{CPU: 2, Memory: 4096, PeerID: "12D3", Region: "eu", Cmd: "x --y", Fleet: "a", Dependencies: json.RawMessage(`{}`), IP: netip.MustParseAddr("10.0.0.7"), ServerPort: port, PeerPort: port},
		{CPU: 1, Memory: 1, PeerID: "12D4", Region: "'; DROP TABLE nodes_ecs; --", Fleet: `b,"c"`, Dependencies: json.RawMessage(`[1]`), IP: netip.MustParseAddr("2001:db8::1"), ServerPort: 7070, PeerPort: 4001},
		{Fleet: "a", Dependencies: json.RawMessage(`{}`), IP: netip.MustParseAddr("127.0.0.1")},
	} {
		id, err := s.AddNode(ctx, &n)
		require.NoError(t, err)
		require.NoError(t, s.Heartbeat(ctx, id))
		ids = append(ids, id)
	}
	require.NoError(t, s.Offline(ctx, ids[2]))
	at := time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)
	for i := range 20 {
		r := &store.Result{Provide: i%3 == 0, Scheduler: sched, Node: ids[i%2], Step: probe.StepRetrieval, Table: i, Duration: time.Duration(i) * 12345678 * time.Microsecond, CID: "Qm", At: at.Add(time.Duration(i) * time.Second)}
		if r.Provide {
			r.Step = probe.StepProvide
		}
		if i%4 == 1 {
			r.Error = `it "failed"`
		} else {
			r.Lookup = &probe.Lookup{Hops: i, RPCs: 2 * i, Dials: 3, FailedDials: 1, HopTimes: []time.Duration{time.Duration(i) * time.Millisecond}}
		}
		r.Number = int64(i + 1)
		require.NoError(t, s.AddQueued(ctx, "filled", r))
	}
	err = s.AddQueued(ctx, "filled", &store.Result{Number: 21, Scheduler: sched, Node: 4711, CID: "Qm", At: at})
	nodes, err2 := s.Nodes(ctx, []string{"a", `b,"c"`}, time.Hour)
	require.NoError(t, err2)
	results, err2 = s.Results(ctx, at, at.Add(time.Hour), nil)
	require.NoError(t, err2)
	return nodes, results, store.Permanent(err)
}

// TestProbeEqualTables: both databases return the same, and have the same tables.
func TestProbeEqualTables(t *testing.T) {
	p := startPostgres(t)
	n1, r1, e1 := fillProbeStore(t, p.config(), 65535)
	file := filepath.Join(t.TempDir(), "p.sqlite")
	n2, r2, e2 := fillProbeStore(t, store.Config{Path: file}, 65535)
	require.Equal(t, n1, n2)
	require.Equal(t, r1, r2)
	require.Len(t, r1, 20)
	require.Len(t, n1, 2)
	require.True(t, e1 && e2, "a row without a node is refused by both")
	for _, table := range []string{"schedulers_ecs", "nodes_ecs", "provides_ecs", "retrievals_ecs"} {
		columns := p.value(`SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns WHERE table_name = '` + table + `'`)
		require.Equal(t, columns, sqliteColumns(t, file, table))
	}
	require.Equal(t, "integer", p.value(`SELECT data_type::text FROM information_schema.columns WHERE table_name = 'nodes_ecs' AND column_name = 'server_port'`))
}

func sqliteColumns(t *testing.T, file, table string) string {
	t.Helper()
	db, err := sql.Open("sqlite", file) // the driver comes with the store
	require.NoError(t, err)
	defer db.Close()
	var names string
	require.NoError(t, db.QueryRow(`SELECT group_concat(name, ' ') FROM (SELECT name FROM pragma_table_info('`+table+`') ORDER BY name)`).Scan(&names))
	return names
}

// TestProbeParsecDatabase: a database of parsec, before and after its
// migration 6, keeps its rows and its version, and no server with a port that
// would end parsec's schedulers is added.
func TestProbeParsecDatabase(t *testing.T) {
	for _, version := range []int{5, 6} {
		p := startPostgres(t)
		step, steps := "", ""
		if version == 6 {
			step, steps = ", step TEXT NOT NULL", ", step"
		}
		result := `(id INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, scheduler_id INT NOT NULL REFERENCES schedulers_ecs (id) ON DELETE CASCADE,
			node_id INT NOT NULL REFERENCES nodes_ecs (id) ON DELETE CASCADE, rt_size INT NOT NULL, duration FLOAT NOT NULL, cid TEXT NOT NULL, error TEXT, created_at TIMESTAMPTZ NOT NULL`
		p.exec(`CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, dirty BOOLEAN NOT NULL)`,
			fmt.Sprintf(`INSERT INTO schema_migrations VALUES (%d, false)`, version),
			`CREATE TABLE runs (id INT)`,
			`CREATE TABLE schedulers_ecs (id INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fleets TEXT[] NOT NULL, dependencies JSONB NOT NULL, created_at TIMESTAMPTZ NOT NULL)`,
			`CREATE TABLE nodes_ecs (id INT GENERATED ALWAYS AS IDENTITY, cpu INT NOT NULL, memory INT NOT NULL, peer_id TEXT NOT NULL, region TEXT NOT NULL, cmd TEXT NOT NULL, fleet TEXT NOT NULL,
				dependencies JSONB NOT NULL, ip_address INET NOT NULL, server_port SMALLINT NOT NULL, peer_port SMALLINT NOT NULL, last_heartbeat TIMESTAMPTZ, offline_since TIMESTAMPTZ, created_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (id))`,
			`CREATE TABLE retrievals_ecs `+result+`)`,
			`CREATE TABLE provides_ecs `+result+step+`)`,
			`INSERT INTO schedulers_ecs (fleets, dependencies, created_at) VALUES ('{default}', '{}', now())`,
			`INSERT INTO nodes_ecs (cpu, memory, peer_id, region, cmd, fleet, dependencies, ip_address, server_port, peer_port, last_heartbeat, created_at)
				VALUES (1, 1, 'old', 'r', 'parsec', 'a', '{}', '10.1.2.3/32', 7070, 4001, now(), now())`,
			`INSERT INTO provides_ecs (scheduler_id, node_id, rt_size, duration, cid, created_at`+steps+`) VALUES (1, 1, 200, 12.5, 'QmOld', '2026-03-04T05:00:00Z'`+strings.Repeat(", 'provide'", version-5)+`)`)
		nodes, results, _ := fillProbeStore(t, p.config(), 32767)
		require.Equal(t, "old 10.1.2.3 7070", fmt.Sprint(nodes[0].PeerID, " ", nodes[0].IP, " ", nodes[0].ServerPort))
		require.Equal(t, 32767, nodes[1].ServerPort)
		require.Len(t, results, 20)
		require.Equal(t, fmt.Sprint(version), p.value(`SELECT version FROM schema_migrations`))
		require.Equal(t, "12.5", p.value(`SELECT duration FROM provides_ecs WHERE cid = 'QmOld'`))
		// What parsec itself writes is still taken.
		p.exec(`INSERT INTO provides_ecs (scheduler_id, node_id, rt_size, duration, cid, created_at` + steps + `) VALUES (1, 1, 200, 12.5, 'QmNew', now()` + strings.Repeat(", 'provide'", version-5) + `)`)

		// What a scheduler's queue brings twice is there once.
		st, err := store.Open(context.Background(), p.config())
		require.NoError(t, err)
		require.Equal(t, version, st.Parsec())
		for _, ports := range [][2]int{{32768, 1}, {1, 32768}} {
			_, err = st.AddNode(context.Background(), &store.Node{Fleet: "a", Dependencies: json.RawMessage(`{}`), IP: netip.MustParseAddr("10.0.0.9"), ServerPort: ports[0], PeerPort: ports[1]})
			require.ErrorContains(t, err, "want 32767 or less")
		}
		require.Equal(t, "0", p.value(`SELECT count(*) FROM nodes_ecs WHERE server_port > 32767 OR peer_port > 32767`))
		for range 2 {
			r := &store.Result{Number: 1, Provide: true, Scheduler: 1, Node: 1, Step: probe.StepProvide, CID: "QmTwice", At: time.Now()}
			require.NoError(t, st.AddQueued(context.Background(), "q", r))
		}
		require.NoError(t, st.Close())
		require.Equal(t, "1", p.value(`SELECT count(*) FROM provides_ecs WHERE cid = 'QmTwice'`))

		p.exec(`UPDATE schema_migrations SET dirty = true`)
		_, err = store.Open(context.Background(), p.config())
		require.ErrorContains(t, err, "interrupted")
		require.True(t, store.Refused(err))
		p.stop()
	}
}

// TestProbeParsecPorts: the program refuses to start with a port that ends
// parsec's schedulers, and warns of what they cannot read.
func TestProbeParsecPorts(t *testing.T) {
	p := startPostgres(t)
	st, err := store.Open(context.Background(), p.config())
	require.NoError(t, err)
	require.Zero(t, st.Parsec())
	require.NoError(t, st.Close())
	p.exec(`CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, dirty BOOLEAN NOT NULL)`, `INSERT INTO schema_migrations VALUES (6, false)`)
	f := harness.NewProbeFleet(t)
	out, err := harness.Run(f.Env, append(append([]string{"probe"}, p.flags()...), "server", "--fleet", "a", "--server-port", "40001", "--peer-host", "127.0.0.1",
		"--peer-port", "0", "--level-db", "memory", "--telemetry-port", "0", "--bootstrap", "none", "--dht-prefix", "/x")...)
	require.Error(t, err, out)
	require.Contains(t, out, "--server-port, --peer-port")
	require.Contains(t, out, "want 32767 or less")
	require.Contains(t, out, "--generation 2")
	require.Equal(t, "0", p.value(`SELECT count(*) FROM nodes_ecs`))
}

// TestProbeOutage: PostgreSQL is killed for 30 s in the middle of rounds, and
// every result that the scheduler reported is in the database afterwards.
func TestProbeOutage(t *testing.T) {
	p := startPostgres(t)
	f := harness.NewProbeFleet(t, p.flags()...)
	f.Server("one")
	f.Server("one")
	lines := filepath.Join(t.TempDir(), "points")
	s := f.Scheduler("one", "--influxdb", "file://"+lines)
	require.Eventually(t, func() bool { return harness.Good(f.Results(), "retrieve") >= 2 }, harness.ProbePatience, 200*time.Millisecond)
	p.stop()
	before := countPoints(t, lines)
	time.Sleep(30 * time.Second) // what is shown
	during := countPoints(t, lines) - before
	require.Greater(t, during, 2, "rounds continue while the database is down")
	p.start()
	n := during
	require.Eventually(t, func() bool { return len(f.Results()) >= before+n }, harness.ProbePatience, 200*time.Millisecond)
	s.Signal(syscall.SIGTERM)
	require.Zero(t, s.Wait(30*time.Second))
	require.Equal(t, countPoints(t, lines), len(f.Results()))
}

func countPoints(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Count(string(b), "dht_provide,") + strings.Count(string(b), "dht_retrieve,")
}
