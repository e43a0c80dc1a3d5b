package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// Defaults of Config.
const (
	DefaultURL              = "http://127.0.0.1:8086"
	DefaultDatabase         = "ipfsmon"
	defaultBatchSize        = 5000
	defaultBatch3           = 20_000 // an InfluxDB 3 answers once a second; at most 8 MiB in any case
	defaultFlushInterval    = time.Second
	DefaultQueueBytes       = 64 << 20
	defaultTimeout          = 30 * time.Second
	defaultSpoolSync        = time.Second
	DefaultHistoryRetention = 7 * 24 * time.Hour
	defaultConcurrency      = 4
	localConcurrency        = 3 // leaves processors for the node
	// defaultUDPRate is the rate that an InfluxDB receives without loss under its system's
	// default settings, in points per second.
	defaultUDPRate = 50_000
)

// InMemory is the SpoolDir that means no spool on disk.
const InMemory = "memory"

// Config describes where the points are sent and how. The zero value of a key means its
// default. The keys are those of kubo's plugin section; in the environment they are
// IPFSMON_INFLUXDB_ and the words of the key: IPFSMON_INFLUXDB_URL,
// IPFSMON_INFLUXDB_TOKEN_FILE, IPFSMON_INFLUXDB_BATCH_SIZE. (No key has an envconfig name of
// its own: envconfig would then also take a bare USERNAME or TOKEN from the environment.)
type Config struct {
	// URL of the server: http://host:port or https://host:port, with a path
	// if it is behind one. Default http://127.0.0.1:8086. Or a destination that does not
	// acknowledge, to which line protocol is sent without confirmation: udp://host:port of an
	// InfluxDB 1.x, with ?totals=port if totals have their own listener; file:///path, to
	// which lines are appended; stdout:
	URL string `json:",omitempty" split_words:"true"`
	// Version of the server's API: "1" (database, user, password), "2"
	// (organisation, bucket, token) or "3" (database, token). Default: 2 if Org, Bucket, Token or
	// TokenFile is given, else 1. An InfluxDB 3 is also found without it, by /ping, and takes the
	// credentials of any API: the token is Token, or the Password of any user.
	Version string `json:",omitempty" split_words:"true"`

	// Database for API 1. Its retention policies are history and totals.
	// Default ipfsmon. With API 2 the name that InfluxQL uses. With API 3 how the names of the
	// databases begin, <Database>/history and <Database>/totals.
	Database string `json:",omitempty" split_words:"true"`
	// Username and Password for API 1; none: no credentials are sent.
	Username string `json:",omitempty" split_words:"true"`
	Password string `json:",omitempty" split_words:"true"`
	// PasswordFile holds the password; it is read again when the server
	// refuses it. Instead of Password.
	PasswordFile string `json:",omitempty" split_words:"true"`

	// Org for API 2: the organisation's name.
	Org string `json:",omitempty" split_words:"true"`
	// Bucket for API 2: how the buckets' names begin, <Bucket>/history and
	// <Bucket>/totals. Default ipfsmon.
	Bucket string `json:",omitempty" split_words:"true"`
	// Token for API 2 or 3.
	Token string `json:",omitempty" split_words:"true"`
	// TokenFile holds the token; it is read again when the server refuses
	// it. Instead of Token.
	TokenFile string `json:",omitempty" split_words:"true"`

	// Proxy is the HTTP proxy for requests to the server: http://host:port or
	// https://host:port. Default: for an https URL on another machine that of
	// HTTPS_PROXY in the environment; else none, whatever HTTP_PROXY says, since
	// it would read the credentials. Since 0.2.
	Proxy string `json:",omitempty" split_words:"true"`

	// CreateDatabase lets the monitor create what it needs: the database with
	// its retention policies, or the buckets and their InfluxQL names. What exists stays as it
	// is, except for HistoryRetention. Default true.
	CreateDatabase *bool `json:",omitempty" split_words:"true"`
	// History false: no history, only totals. Default true.
	History *bool `json:",omitempty" split_words:"true"`
	// HistoryDHT true: history has each request of the DHT's protocol too, that
	// peers send to this node and that it sends, which are some hundred a second
	// at a DHT server. All destinations with history get them. Default false:
	// only their sums are stored. Since 0.2.
	HistoryDHT bool `json:",omitempty" split_words:"true"`
	// HistoryRetention is how long history is kept: a duration of at least
	// one hour, "0s" for ever. Default: 168h where the monitor creates the database or bucket,
	// else as the server has it. A value shorter than the server's deletes older history; a log
	// line announces it first.
	HistoryRetention string `json:",omitempty" split_words:"true"`

	// Rollups false: the sums of history by minutes and hours, and of totals, are not written.
	// Default true, also without history.
	Rollups *bool `json:",omitempty" split_words:"true"`

	// BatchSize is the most points posted at once, 1 to 50000 (a batch may
	// go over it by one message's points). Fewer are posted while the server has
	// trouble. Default 5000; up to 20000 are joined for an InfluxDB 3, which answers once a second.
	BatchSize int `json:",omitempty" split_words:"true"`
	// Concurrency is the maximum number of concurrent requests, 2 to 32: one for the points of
	// the last seconds, the others for a backlog on disk. The backlog starts with one request
	// and gets more while the server answers quickly. While there is no backlog, one of them
	// helps with recent points. Without a spool there is one request at a time. Default 4; 3
	// for a server on this machine.
	Concurrency int `json:",omitempty" split_words:"true"`
	// FlushInterval is the longest that a point waits for its batch to fill,
	// "10ms" to "1m". Default "1s".
	FlushInterval string `json:",omitempty" split_words:"true"`
	// QueueBytes bounds the points that wait for the server in memory, 1 MiB
	// or more. Beyond it the oldest are dropped and counted. Default 64 MiB.
	QueueBytes units.Bytes `json:",omitempty" split_words:"true"`
	// SpoolDir is the folder for points that the server has not accepted yet, so that they
	// outlive this process: an absolute path, or "memory" for none. Default none; the plugin's
	// is spool in the data folder.
	SpoolDir string `json:",omitempty" split_words:"true"`
	// SpoolMaxBytes bounds it, 1 MiB or more. Beyond it the oldest points are
	// dropped and counted. Default 4 GiB.
	SpoolMaxBytes units.Bytes `json:",omitempty" split_words:"true"`
	// SpoolMaxAge is how long points wait, at least "1m"; "0s" for ever, which
	// is the default. Older ones are dropped and counted.
	SpoolMaxAge string `json:",omitempty" split_words:"true"`
	// SpoolSyncEvery is the longest time that unaccepted points are in memory only, up to "1m";
	// "0s": points are on disk before they count as accepted. Default "1s".
	SpoolSyncEvery string `json:",omitempty" split_words:"true"`
	// Timeout of one request, "100ms" to "10m". Default "30s".
	Timeout string `json:",omitempty" split_words:"true"`
	// Gzip: "on", "off", or "auto", which compresses unless the server is on
	// this machine. Default "auto".
	Gzip string `json:",omitempty" split_words:"true"`

	// UDPRate is the most points sent by UDP in a second, 100 to 10000000.
	// Default 50000, which a server with Linux's default socket buffers receives without loss.
	UDPRate int `json:",omitempty" split_words:"true"`

	// Also are further servers that get all points, each at its own pace and
	// with its own spool in SpoolDir. In the environment the list is JSON.
	Also Destinations `json:",omitempty" split_words:"true"`

	// Stdout is where the URL stdout: writes; nil: os.Stdout.
	Stdout *os.File `json:"-" ignored:"true"`
	// Log receives warnings and errors; nil: slog.Default().
	Log *slog.Logger `json:"-" ignored:"true"`
}

// Validate reports all invalid settings, each with its key and the values it accepts. It reads
// no files but those of the secrets.
func (c Config) Validate() error {
	_, err := c.ResolveAll()
	return err
}

// Settings is a parsed Config with all defaults filled in.
type Settings struct {
	Config
	Name         string // of the destination
	Base         *url.URL
	UDP          [schema.Kinds]string // addresses of listeners
	v2, v3       bool                 // the configured API; API returns the one in use
	found        *found
	batch3       int // most points posted at once to an InfluxDB 3
	MayCreate    bool
	KeepsHistory bool
	KeepsRollups bool
	Compress     bool
	Local        bool          // the server is on this machine
	retain       time.Duration // of history, 0: for ever
	asked        bool          // retain was configured: the server's setting is changed to it
	through      *url.URL      // proxy; nil: the environment's or none
	FlushEvery   time.Duration

	SpoolAge  time.Duration
	SpoolSync time.Duration

	RequestTimeout time.Duration
	Logger         *slog.Logger
	password       string
	token          string
}

func (c Config) resolve() (Settings, error) {
	s := Settings{Config: c, Logger: c.Log, found: new(found)}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}

	setDefault(&s.URL, DefaultURL)
	u, err := url.Parse(s.URL)
	switch {
	case err != nil:
		bad("URL", "cannot be parsed: want http://host:port or https://host:port") // err may hold a password
		u = &url.URL{}
	case u.Scheme == "udp":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		totals := u.Port()
		if q := u.Query(); q.Has("totals") && len(q) == 1 {
			totals = q.Get("totals")
		} else if len(q) > 0 {
			err = errors.New("another query")
		}
		other, err2 := strconv.ParseUint(totals, 10, 16)
		if errors.Join(err, err2) != nil || port == 0 || other == 0 || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
			bad("URL", "%q: want udp://host:port or udp://host:port?totals=port", u.Redacted())
		}
		s.UDP = [schema.Kinds]string{schema.History: net.JoinHostPort(u.Hostname(), u.Port()), schema.Totals: net.JoinHostPort(u.Hostname(), totals)}
	case u.Scheme == "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) || strings.HasSuffix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
			bad("URL", "%q: want file:///path, absolute and of a file", u.Redacted())
		}
	case u.Scheme == "stdout":
		if s.URL != "stdout:" {
			bad("URL", "%q: want stdout:", u.Redacted())
		}
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		bad("URL", "%q: want http://host:port, https://host:port, udp://host:port, file:///path or stdout:", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		bad("URL", "%q has a query or fragment; set the database or bucket with its own key", u.Redacted())
	case u.User != nil:
		bad("URL", "%q has a user; use Username and Password or PasswordFile", u.Redacted())
	}
	server := u.Scheme == "http" || u.Scheme == "https"
	s.Base = u
	s.Local = listen.LoopbackHost(u.Hostname())

	has2 := c.Org != "" || c.Bucket != "" || c.Token != "" || c.TokenFile != ""
	has1 := c.Username != "" || c.Password != "" || c.PasswordFile != ""
	if !server && (has1 || has2 || c.Version != "") {
		bad("URL", "%q takes no credentials: Version, Username, Password, Org, Bucket and Token are for http and https", u.Redacted())
		has1, has2, s.Version = false, false, "1"
	}
	switch s.Version {
	case "":
		s.v2 = has2
	case "1", "2", "3":
		s.v2, s.v3 = c.Version == "2", c.Version == "3"
	default:
		bad("Version", "%q: want \"1\", \"2\", \"3\" or nothing", c.Version)
	}
	if s.v3 && (has1 || c.Org != "" || c.Bucket != "") {
		bad("Version", "Username, Password, Org and Bucket are not for API 3, which takes Database and Token or TokenFile; leave Version out to use them with InfluxDB 3")
	}
	if s.v2 && has1 {
		bad("Username", "Username, Password and PasswordFile are for API 1; API 2 takes Token or TokenFile")
	}
	if !s.v2 && !s.v3 && has2 {
		bad("Version", "Org, Bucket, Token and TokenFile are for API 2; leave Version out or set it to \"2\"")
	}
	if s.v2 && c.Org == "" {
		bad("Org", "missing; API 2 needs the name of the organisation; InfluxDB 3 has none: set Version to \"3\"")
	}
	if s.v2 && c.Token == "" && c.TokenFile == "" {
		bad("Token", "missing; API 2 needs Token or TokenFile")
	}
	if c.Password != "" && c.PasswordFile != "" {
		bad("PasswordFile", "set beside Password; want only one of them")
	}
	if c.Token != "" && c.TokenFile != "" {
		bad("TokenFile", "set beside Token; want only one of them")
	}
	if has1 && c.Username == "" {
		bad("Username", "missing beside the password")
	}
	setDefault(&s.Database, DefaultDatabase)
	setDefault(&s.Bucket, DefaultDatabase)
	for key, name := range map[string]string{"Database": s.Database, "Bucket": s.Bucket, "Org": c.Org} {
		if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || r == '\\' }) {
			bad(key, "%q: want at most 64 bytes of printable text without quotes and backslashes", name)
		}
	}
	if strings.ContainsAny(s.Database, "/. ") {
		bad("Database", "%q; want no slashes, dots or spaces", s.Database)
	}
	if s.password = c.Password; c.PasswordFile != "" {
		if s.password, err = access.ReadSecret(c.PasswordFile); err != nil {
			bad("PasswordFile", "%v", err)
		}
	}
	if s.token = c.Token; c.TokenFile != "" {
		if s.token, err = access.ReadSecret(c.TokenFile); err != nil {
			bad("TokenFile", "%v", err)
		}
	}
	if strings.ContainsFunc(s.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("Token", "has characters that no token has (it must be printable ASCII without spaces)")
	}

	if c.Proxy != "" {
		p, err := url.Parse(c.Proxy)
		switch {
		case err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Hostname() == "":
			bad("Proxy", "want http://host:port or https://host:port") // it may hold a password
		case !server:
			bad("Proxy", "want none: it is for URLs of http and https")
		case s.Local:
			bad("Proxy", "want none: the server %q is on this machine", u.Redacted())
		case u.Scheme == "http" && (has1 || has2):
			bad("Proxy", "the proxy could read the password or token of the http URL %q; want https, or no proxy", u.Redacted())
		default:
			s.through = p
		}
	}

	s.asked = c.HistoryRetention != ""
	s.MayCreate = c.CreateDatabase == nil || *c.CreateDatabase
	s.KeepsHistory = c.History == nil || *c.History
	s.KeepsRollups = c.Rollups == nil || *c.Rollups
	duration := func(key, value string, def, least, most time.Duration) time.Duration {
		if value == "" {
			return def
		}
		d, err := units.ParseDuration(value)
		if err != nil || d < least || most > 0 && d > most {
			upTo := ""
			if most > 0 {
				upTo = " to " + most.String()
			}
			bad(key, "%q: want a duration from %s%s, such as %q", value, least, upTo, def)
		}
		return d
	}
	if c.HistoryRetention != "0" && c.HistoryRetention != "0s" {
		s.retain = duration("HistoryRetention", c.HistoryRetention, DefaultHistoryRetention, time.Hour, 0)
	}
	s.FlushEvery = duration("FlushInterval", c.FlushInterval, defaultFlushInterval, 10*time.Millisecond, time.Minute)
	s.RequestTimeout = duration("Timeout", c.Timeout, defaultTimeout, 100*time.Millisecond, 10*time.Minute)
	s.batch3 = s.BatchSize
	if s.BatchSize == 0 {
		s.BatchSize, s.batch3 = defaultBatchSize, defaultBatch3
	}
	if s.BatchSize < 1 || s.BatchSize > 50000 {
		bad("BatchSize", "%d: want 1 to 50000", c.BatchSize)
	}
	if s.Concurrency == 0 {
		s.Concurrency = defaultConcurrency
		if s.Local {
			s.Concurrency = localConcurrency
		}
	}
	if s.Concurrency < 2 || s.Concurrency > 32 {
		bad("Concurrency", "%d: want 2 to 32", c.Concurrency)
	}
	if s.QueueBytes == 0 {
		s.QueueBytes = DefaultQueueBytes
	}
	if s.UDPRate == 0 {
		s.UDPRate = defaultUDPRate
	}
	if s.UDPRate < 100 || s.UDPRate > 10_000_000 {
		bad("UDPRate", "%d: want 100 to 10000000 points a second", c.UDPRate)
	}
	if s.QueueBytes < 1<<20 {
		bad("QueueBytes", "%d: want %d (1 MiB) or more", c.QueueBytes, 1<<20)
	}
	if s.SpoolDir == InMemory {
		s.SpoolDir = ""
	}
	if s.SpoolDir != "" && !filepath.IsAbs(s.SpoolDir) {
		bad("SpoolDir", "%q: want an absolute path, or %q", c.SpoolDir, InMemory)
	}
	if s.SpoolMaxBytes != 0 && s.SpoolMaxBytes < 1<<20 {
		bad("SpoolMaxBytes", "%d: want %d (1 MiB) or more", c.SpoolMaxBytes, 1<<20)
	}
	if c.SpoolMaxAge != "0" && c.SpoolMaxAge != "0s" {
		s.SpoolAge = duration("SpoolMaxAge", c.SpoolMaxAge, 0, time.Minute, 0)
	}
	s.SpoolSync = duration("SpoolSyncEvery", c.SpoolSyncEvery, defaultSpoolSync, 0, time.Minute)
	switch c.Gzip {
	case "", "auto":
		s.Compress = !s.Local
	case "on", "off":
		s.Compress = c.Gzip == "on"
	default:
		bad("Gzip", "%q: want \"auto\", \"on\" or \"off\"", c.Gzip)
	}
	return s, errors.Join(errs...)
}

// BatchPoints returns the most points of one post with an API, which Settings.API returns.
func (s *Settings) BatchPoints(api int) int {
	if api == 3 {
		return s.batch3
	}
	return s.BatchSize
}

// ReadSecrets reads the secrets' files again; on an error it keeps the old secrets.
func (s *Settings) ReadSecrets() {
	if s.PasswordFile != "" {
		if v, err := access.ReadSecret(s.PasswordFile); err == nil {
			s.password = v
		}
	}
	if s.TokenFile != "" {
		if v, err := access.ReadSecret(s.TokenFile); err == nil {
			s.token = v
		}
	}
}

// bucket returns the name of a kind's bucket in InfluxDB 2.
func (s *Settings) bucket(k schema.Kind) string { return s.Bucket + "/" + k.String() }

func setDefault(s *string, def string) {
	if *s == "" {
		*s = def
	}
}
