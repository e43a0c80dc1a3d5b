// Package store stores what the DHT probe's servers and schedulers report: in
// SQLite, which needs no installation, or in PostgreSQL, in the tables of parsec.
//
// In: nodes with their heartbeats, schedulers, results. Out: the nodes that
// are alive, and results of a time range. Promised: the same tables and
// answers in both databases; interrupted migrations resume at the next
// start; a database of parsec keeps its tables, rows and the version of its own
// migrations, and only its columns of ports become wider. Heartbeats and their age
// are by the database's clock, so the clocks of servers do not matter.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/probe"
)

// Config names the database. Without a Host it is SQLite at Path.
type Config struct {
	Path string // of the SQLite file; created with its folder, readable by its owner only, unless ReadOnly
	// ReadOnly opens an existing database and changes nothing in it.
	ReadOnly bool

	Host     string // of PostgreSQL: a name, an address, or the folder of its socket
	Port     int    // 5432 if 0
	Name     string
	User     string
	Password string
	SSLMode  string // as in libpq; disable if ""
}

// sslModes are those of libpq.
var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// Validate returns all errors of the configuration, joined.
func (c Config) Validate() error {
	if c.Host == "" {
		if c.Path == "" {
			return errors.New("store: no SQLite file: want a path")
		}
		return nil
	}
	var errs []error
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("store: database port %d: want 1 to 65535", c.Port))
	}
	if c.Name == "" || c.User == "" {
		errs = append(errs, errors.New("store: PostgreSQL without the name of a database or a user: want both"))
	}
	if c.SSLMode != "" && !strings.Contains(" "+strings.Join(sslModes, " ")+" ", " "+c.SSLMode+" ") {
		errs = append(errs, fmt.Errorf("store: sslmode %q: want one of %s", c.SSLMode, strings.Join(sslModes, ", ")))
	}
	return errors.Join(errs...)
}

// String returns the name of the database, without the password.
func (c Config) String() string {
	if c.Host == "" {
		return "SQLite " + c.Path
	}
	return "PostgreSQL " + net.JoinHostPort(c.Host, strconv.Itoa(c.port())) + "/" + c.Name
}

func (c Config) port() int {
	if c.Port == 0 {
		return 5432
	}
	return c.Port
}

// Store is an open database. All methods may be called from any goroutine.
type Store struct {
	db   conn
	pg   bool
	step bool // provides_ecs has a column step; an old database of parsec has none

	version int // of parsec's own migrations; 0: the database is not parsec's
}

// maxParsecPort is the highest port that parsec's programs can read: they read both
// ports as signed 16-bit numbers, and a scheduler exits at a larger one.
const maxParsecPort = 1<<15 - 1

// Parsec returns the version of parsec's own migrations in this database, 0 if
// parsec has never used it.
func (s *Store) Parsec() int { return s.version }

// Fits returns an error if a server must not be added: to a database of parsec, with
// a port that would make parsec's schedulers exit.
func (s *Store) Fits(n *Node) error {
	if s.version == 0 || n.ServerPort <= maxParsecPort && n.PeerPort <= maxParsecPort {
		return nil
	}
	return fmt.Errorf("store: the database is parsec's, whose schedulers exit at a port above %d: server port %d, peer port %d: want %d or less for both",
		maxParsecPort, n.ServerPort, n.PeerPort, maxParsecPort)
}

// Open connects and brings the tables up to date. It does not wait for a database
// that does not answer.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Store{pg: c.Host != ""}
	if s.pg {
		mode := c.SSLMode
		if mode == "" {
			mode = "disable"
		}
		u := url.URL{Scheme: "postgres", User: url.UserPassword(c.User, c.Password), Path: "/" + c.Name,
			RawQuery: url.Values{"sslmode": {mode}, "connect_timeout": {"5"}, "host": {c.Host}, "port": {strconv.Itoa(c.port())}, "timezone": {"UTC"}}.Encode()}
		config, err := pgx.ParseConfig(u.String())
		if err != nil {
			return nil, fmt.Errorf("store: %s: %w", c, err)
		}
		s.db = newPostgres(config)
	} else {
		mode := "_pragma=journal_mode(WAL)"
		if c.ReadOnly {
			mode = "mode=ro"
			if info, err := os.Stat(c.Path); err != nil || !info.Mode().IsRegular() {
				return nil, fmt.Errorf("store: open %s: want the file of a probe's database: %w", c, cmp.Or(err, os.ErrInvalid))
			}
		} else if err := makePrivate(c.Path); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		// One connection: SQLite has one writer at a time in any case.
		uri, err := paths.SQLite(c.Path)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		db, err := sql.Open("sqlite", uri+"?"+mode+"&_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_txlock=immediate")
		if err != nil {
			return nil, fmt.Errorf("store: open %s: %w", c, err)
		}
		db.SetMaxOpenConns(1)
		s.db = lite{db, db}
	}
	prepare := s.migrate
	if c.ReadOnly {
		prepare = s.look
	}
	if err := prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %s: %w", c, err), s.db.close())
	}
	return s, nil
}

// makePrivate creates a file that only its owner can read, and its folder, if it
// does not exist: SQLite would create it readable by everybody.
func makePrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// Close closes the database.
func (s *Store) Close() error { return s.db.close() }

// Permanent reports whether the database rejects a row because of its content, so
// that a retry is useless.
func Permanent(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		class := pg.Code[:min(2, len(pg.Code))]
		return class == "22" || class == "23" // data exception, integrity constraint
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == 19 // SQLITE_CONSTRAINT
}

var numbered = regexp.MustCompile(`\$(\d+)`)

// q translates a statement for PostgreSQL into one for the open database.
func (s *Store) q(statement string) string {
	if s.pg {
		return statement
	}
	return numbered.ReplaceAllString(
		strings.NewReplacer("now()", "strftime('%Y-%m-%dT%H:%M:%f000Z','now')", "host(ip_address)", "ip_address").Replace(statement), `?$1`)
}

// timeLayout is the form of times in SQLite.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// t converts a time for the open database.
func (s *Store) t(t time.Time) any {
	if s.pg {
		return t.UTC()
	}
	return t.UTC().Format(timeLayout)
}

// moment is a time of either database; Valid is false for NULL.
type moment sql.NullTime

func (m *moment) Scan(v any) (err error) {
	text, ok := v.(string)
	if !ok {
		return (*sql.NullTime)(m).Scan(v)
	}
	m.Time, err = time.Parse(time.RFC3339Nano, text)
	m.Valid = err == nil
	return err
}

// AddScheduler adds a scheduler and returns its number.
func (s *Store) AddScheduler(ctx context.Context, fleets []string, dependencies json.RawMessage) (id int, err error) {
	list := any(fleets)
	if !s.pg {
		b, err := json.Marshal(fleets)
		if err != nil {
			return 0, err
		}
		list = string(b)
	}
	err = one(ctx, s.db, &id, s.q(`INSERT INTO schedulers_ecs (fleets, dependencies, created_at) VALUES ($1, $2, now()) RETURNING id`), list, string(dependencies))
	return id, wrap("add a scheduler", err)
}

// Node is a server, a row of nodes_ecs.
type Node struct {
	ID           int
	CPU, Memory  int // processors; MB
	PeerID       string
	Region       string
	Cmd          string
	Fleet        string
	Dependencies json.RawMessage
	IP           netip.Addr
	ServerPort   int
	PeerPort     int
}

// AddNode adds a server. Nodes returns it after its first heartbeat.
func (s *Store) AddNode(ctx context.Context, n *Node) (id int, err error) {
	if err := s.Fits(n); err != nil {
		return 0, err
	}
	err = one(ctx, s.db, &id, s.q(`INSERT INTO nodes_ecs (cpu, memory, peer_id, region, cmd, fleet, dependencies, ip_address, server_port, peer_port, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now()) RETURNING id`),
		n.CPU, n.Memory, n.PeerID, n.Region, n.Cmd, n.Fleet, string(n.Dependencies), n.IP.String(), n.ServerPort, n.PeerPort)
	return id, wrap("add a node", err)
}

// Heartbeat marks a server alive and online.
func (s *Store) Heartbeat(ctx context.Context, node int) error {
	err := s.db.exec(ctx, s.q(`UPDATE nodes_ecs SET last_heartbeat = now(), offline_since = NULL WHERE id = $1`), node)
	return wrap("write a heartbeat", err)
}

// Offline marks a server offline. It does not change the time of one that is
// offline already.
func (s *Store) Offline(ctx context.Context, node int) error {
	err := s.db.exec(ctx, s.q(`UPDATE nodes_ecs SET offline_since = now() WHERE id = $1 AND offline_since IS NULL`), node)
	return wrap("mark a node offline", err)
}

// Nodes returns the servers of these fleets that are not offline and had a
// heartbeat within that time, by number. A heartbeat in the future, of a server
// that writes its own clock, counts as one of now: such a server is returned until
// a scheduler marks it offline.
func (s *Store) Nodes(ctx context.Context, fleets []string, within time.Duration) (out []Node, err error) {
	if len(fleets) == 0 {
		return nil, nil
	}
	since, heartbeat := `now() - make_interval(secs => $1)`, `LEAST(last_heartbeat, now())`
	age := any(within.Seconds())
	if !s.pg {
		heartbeat = `MIN(last_heartbeat, now())`
		since = `strftime('%Y-%m-%dT%H:%M:%f000Z','now', $1)`
		age = fmt.Sprintf("-%.3f seconds", within.Seconds())
	}
	args, in := []any{age}, []string{}
	for i, f := range fleets {
		args = append(args, f)
		in = append(in, "$"+strconv.Itoa(i+2))
	}
	err = s.db.query(ctx, func(r row) error {
		var n Node
		var ip string
		err := r.Scan(&n.ID, &n.CPU, &n.Memory, &n.PeerID, &n.Region, &n.Cmd, &n.Fleet, &ip, &n.ServerPort, &n.PeerPort)
		if err == nil {
			n.IP, err = netip.ParseAddr(ip)
		}
		out = append(out, n)
		return err
	}, s.q(`SELECT id, cpu, memory, peer_id, region, cmd, fleet, host(ip_address), server_port, peer_port FROM nodes_ecs
		WHERE offline_since IS NULL AND `+heartbeat+` >= `+since+` AND fleet IN (`+strings.Join(in, ", ")+`) ORDER BY id`), args...)
	return out, wrap("read nodes", err)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	return nil
}

// lookupJSON is the JSON of the column lookup. Its keys are field names of the
// InfluxDB schema, times are in seconds like the column duration.
type lookupJSON struct {
	Hops        int       `json:"hops"`
	RPCs        int       `json:"rpcs"`
	FailedRPCs  int       `json:"failed_rpcs"`
	Dials       int       `json:"dials"`
	FailedDials int       `json:"failed_dials"`
	HopTimes    []float64 `json:"hop_times"`
}

func encodeLookup(l *probe.Lookup) (any, error) {
	if l == nil {
		return nil, nil
	}
	j := lookupJSON{Hops: l.Hops, RPCs: l.RPCs, FailedRPCs: l.FailedRPCs, Dials: l.Dials, FailedDials: l.FailedDials, HopTimes: []float64{}}
	for _, t := range l.HopTimes {
		j.HopTimes = append(j.HopTimes, t.Seconds())
	}
	b, err := json.Marshal(j)
	return string(b), err
}

func decodeLookup(text sql.NullString) (*probe.Lookup, error) {
	if !text.Valid {
		return nil, nil
	}
	var j lookupJSON
	if err := json.Unmarshal([]byte(text.String), &j); err != nil {
		return nil, err
	}
	l := &probe.Lookup{Hops: j.Hops, RPCs: j.RPCs, FailedRPCs: j.FailedRPCs, Dials: j.Dials, FailedDials: j.FailedDials}
	for _, t := range j.HopTimes {
		l.HopTimes = append(l.HopTimes, seconds(t))
	}
	return l, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// errDirty is the error of a database that an administrator has to repair.
var errDirty = errors.New("schema_migrations is dirty")

// Refused reports whether an error of Open is permanent: the database answers, but
// rejects us or cannot be used.
func Refused(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		class := pg.Code[:min(2, len(pg.Code))]
		return class != "57" && class != "53" // starting up or going down, overloaded
	}
	return errors.Is(err, errDirty)
}
