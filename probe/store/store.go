// Package store keeps what the DHT probe's servers and schedulers report: in
// SQLite, with nothing to install, or in PostgreSQL, in the tables of parsec.
//
// In: nodes with their heartbeats, schedulers, results. Out: the nodes that
// are alive, and results of a time range. Promised: the same tables and
// answers in both databases; interrupted migrations resume at the next
// start; a database of parsec keeps its tables, rows and its own migrations'
// version, only its ports become wide enough. Whoever writes to a database
// decides what time it is: heartbeats and their age are by the database's
// clock, so clocks of servers do not matter.
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

// Config says which database. Without a Host it is SQLite at Path.
type Config struct {
	Path string // of the SQLite file; it is made, with its folder, for its owner alone, unless ReadOnly
	// ReadOnly opens a database that is there already and changes nothing in it.
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

// Validate says what is wrong.
func (c Config) Validate() error {
	if c.Host == "" {
		if c.Path == "" {
			return errors.New("store: SQLite file missing; want a path")
		}
		return nil
	}
	var errs []error
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("store: database port %d; allowed is 1 to 65535", c.Port))
	}
	if c.Name == "" || c.User == "" {
		errs = append(errs, errors.New("store: PostgreSQL needs the name of a database and of a user"))
	}
	if c.SSLMode != "" && !strings.Contains(" "+strings.Join(sslModes, " ")+" ", " "+c.SSLMode+" ") {
		errs = append(errs, fmt.Errorf("store: sslmode %q; allowed is %s", c.SSLMode, strings.Join(sslModes, ", ")))
	}
	return errors.Join(errs...)
}

// String names the database without its password.
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

// maxParsecPort is the highest port that parsec's programs can read: they scan
// both ports into 16 bits with a sign, and a scheduler that fails to do so ends.
const maxParsecPort = 1<<15 - 1

// Parsec returns the version of parsec's own migrations in this database, 0 if
// parsec has never used it.
func (s *Store) Parsec() int { return s.version }

// Fits reports why a server must not be added: in a database of parsec, a port
// that would end parsec's schedulers.
func (s *Store) Fits(n *Node) error {
	if s.version == 0 || n.ServerPort <= maxParsecPort && n.PeerPort <= maxParsecPort {
		return nil
	}
	return fmt.Errorf("store: the database is parsec's, and a port above %d ends parsec's schedulers: server port %d, peer port %d; want %d or less for both",
		maxParsecPort, n.ServerPort, n.PeerPort, maxParsecPort)
}

// Open connects and brings the tables up to date. It does not wait for a
// database that is not there.
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

// makePrivate makes a file that only its owner reads, if it is not there yet:
// SQLite would make one for everybody. Its folder is made, too.
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

// Permanent says whether a row is refused for what is in it, so that trying
// again is of no use.
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

// q makes a statement of the database at hand of one of PostgreSQL.
func (s *Store) q(statement string) string {
	if s.pg {
		return statement
	}
	return numbered.ReplaceAllString(
		strings.NewReplacer("now()", "strftime('%Y-%m-%dT%H:%M:%f000Z','now')", "host(ip_address)", "ip_address").Replace(statement), `?$1`)
}

// timeLayout is how SQLite keeps times.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// t makes a time for the database at hand.
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

// AddScheduler reports a scheduler and returns its number.
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

// Node is a server as it stands in nodes_ecs.
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

// AddNode adds a server, which is seen from its first heartbeat on.
func (s *Store) AddNode(ctx context.Context, n *Node) (id int, err error) {
	if err := s.Fits(n); err != nil {
		return 0, err
	}
	err = one(ctx, s.db, &id, s.q(`INSERT INTO nodes_ecs (cpu, memory, peer_id, region, cmd, fleet, dependencies, ip_address, server_port, peer_port, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now()) RETURNING id`),
		n.CPU, n.Memory, n.PeerID, n.Region, n.Cmd, n.Fleet, string(n.Dependencies), n.IP.String(), n.ServerPort, n.PeerPort)
	return id, wrap("add a node", err)
}

// Heartbeat says that a server is alive, and not offline any more.
func (s *Store) Heartbeat(ctx context.Context, node int) error {
	err := s.db.exec(ctx, s.q(`UPDATE nodes_ecs SET last_heartbeat = now(), offline_since = NULL WHERE id = $1`), node)
	return wrap("write a heartbeat", err)
}

// Offline says that a server is gone; one that is gone already stays so since
// then.
func (s *Store) Offline(ctx context.Context, node int) error {
	err := s.db.exec(ctx, s.q(`UPDATE nodes_ecs SET offline_since = now() WHERE id = $1 AND offline_since IS NULL`), node)
	return wrap("mark a node offline", err)
}

// Nodes are the servers of these fleets that are not offline and had a
// heartbeat within that time, by number. One in the future, by a server that
// writes its own clock, counts as one of now: such a server stays until a
// scheduler marks it offline.
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

// lookupJSON is the column lookup: the keys are the measurements' of the
// schema, times in seconds as in the column duration.
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

// errDirty is for a database that needs somebody's hand.
var errDirty = errors.New("schema_migrations is dirty")

// Refused says whether an error of Open will still be there in a while: the
// database is there, and does not want us or cannot be used.
func Refused(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		class := pg.Code[:min(2, len(pg.Code))]
		return class != "57" && class != "53" // starting up or going down, overloaded
	}
	return errors.Is(err, errDirty)
}
