package collect

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Defaults and limits of Config.
const (
	DefaultLateness   = 10 * time.Second
	DefaultPeersEvery = time.Minute
	DefaultMaxRate    = 20_000
	DefaultMaxPeers   = 50_000
	DefaultQueue      = "fleet"
	// MaxMonitors is the most monitors of one collector.
	MaxMonitors = 64
)

// Config is the configuration of a collector.
type Config struct {
	// Monitors are those whose streams are read.
	Monitors []Source `json:"monitors"`
	// Lateness is how long after its time an event may come and still be joined
	// with those of other monitors, 1s to 10m. Default: 10s.
	Lateness string `json:"lateness,omitempty"`
	// PeersEvery is the time between two readings of a monitor's connected peers
	// from its HTTP API, 1s to 1h. Default: 1m.
	PeersEvery string `json:"peers-every,omitempty"`
	// MaxRate is how many events a second are read of one monitor. Of what is
	// more the monitor drops the oldest, and reports how many. Default: 20000.
	MaxRate int `json:"max-rate,omitempty"`
	// MaxPeers is how many connected peers are kept of one monitor. Default: 50000.
	MaxPeers int `json:"max-peers,omitempty"`
	// Broker is how to read from the broker that monitors' addresses name.
	Broker *Broker `json:"broker,omitempty"`
	// Record is the folder into which all events are recorded, each monitor in a
	// folder of its own. Default: none.
	Record string `json:"record,omitempty"`
}

// Broker says how to read from a broker.
type Broker struct {
	// PasswordFile has the password of the address's user, in place of one in the
	// address. It is read again for each connection. Default: none.
	PasswordFile string `json:"password-file,omitempty"`
	// CAFile has the only certificates (PEM) that are trusted for amqps. Default:
	// those that this system trusts.
	CAFile string `json:"ca-file,omitempty"`
	// Queue is how the names of the queues begin, which collectors that share the
	// peers have in common. Default: fleet.
	Queue string `json:"queue,omitempty"`
	// Part is which part of the peers this collector reads, and of how many: 1/3, 2/3
	// and 3/3 for three collectors. It stands by for the others' parts. Default: all
	// of them.
	Part string `json:"part,omitempty"`
}

// Source is one monitor of a Config.
type Source struct {
	// Name is the name of the monitor in every figure. Default: the name that it
	// sends. With a broker it is the monitor's own, in its routing keys.
	Name string `json:"name,omitempty"`
	// Stream is the address of its event stream, host:port or unix:/path; or that of
	// the broker that it sends to, amqp://user@host:port/vhost or amqps://.
	Stream string `json:"stream"`
	// Format is what is read of it from a broker: v4, or v3 of the metrics exporter.
	// Default: v4.
	Format string `json:"format,omitempty"`
	// HTTP is the URL of its HTTP API, from which its connected peers are read.
	// Default: none; then connected peers are those whose connections began while
	// the stream was read.
	HTTP string `json:"http,omitempty"`
	// Page is the URL of its live page, which the collector's page links to.
	// Default: none.
	Page string `json:"page,omitempty"`
	// API is the URL of its node's RPC API (kubo), for "ipfsmon fleet gateways", which
	// puts random blocks there. Default: none.
	API string `json:"api,omitempty"`
	// TLS uses TLS for the stream, with the certificates that this system trusts.
	// Default: off.
	TLS bool `json:"tls,omitempty"`
	// CAFile has the only certificates (PEM) that are trusted, for both; it turns
	// TLS on. Default: none.
	CAFile string `json:"ca-file,omitempty"`
	// TLSName is the name that the stream's certificate must have. Default: the
	// host of Stream.
	TLSName string `json:"tls-name,omitempty"`
	// TokenFile has the token that the monitor requires, for both. It is read
	// again for each connection. Default: none.
	TokenFile string `json:"token-file,omitempty"`
}

// settings is a parsed Config.
type settings struct {
	Config
	lateness, peersEvery time.Duration
	sources              []sourceSettings
	log                  *slog.Logger
	reads                Broker        // with defaults
	server               broker.Server // Address is "" if there is none
	buckets              []int         // nil: all
}

// sourceSettings is a parsed Source.
type sourceSettings struct {
	Source
	stream stream.Options
	http   *url.URL // nil: none
	client listen.To
	amqp   bool // from the broker
}

// Validate reports all errors of a configuration, with the key of each.
func (c Config) Validate() error {
	_, err := c.settings()
	return err
}

// Subscriptions returns how the stream of each monitor is subscribed to, in the order of
// Monitors. Its errors are those of Validate.
func (c Config) Subscriptions() (out []stream.Options, err error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	for i := range s.sources {
		out = append(out, s.sources[i].stream)
	}
	return out, nil
}

// Paths are the settings that are paths, by key.
func (c *Config) paths() map[string]*string {
	out := map[string]*string{"record": &c.Record}
	if c.Broker != nil {
		out["broker.password-file"], out["broker.ca-file"] = &c.Broker.PasswordFile, &c.Broker.CAFile
	}
	for i := range c.Monitors {
		out[fmt.Sprintf("monitors.%d.ca-file", i)] = &c.Monitors[i].CAFile
		out[fmt.Sprintf("monitors.%d.token-file", i)] = &c.Monitors[i].TokenFile
	}
	return out
}

func (c Config) settings() (*settings, error) {
	c.Monitors = append([]Source(nil), c.Monitors...)
	if c.Broker != nil {
		b := *c.Broker
		c.Broker = &b
	}
	var errs []error
	errs = append(errs, paths.Expand(c.paths()))
	s := &settings{Config: c, log: slog.Default()}
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	duration := func(key, text string, def, least, most time.Duration) time.Duration {
		if text == "" {
			return def
		}
		d, err := units.ParseDuration(text)
		if err != nil {
			wrong("%s: %w", key, err)
		} else if d < least || d > most {
			wrong("%s: %s: want %s to %s", key, text, units.FormatDuration(least), units.FormatDuration(most))
		}
		return d
	}
	s.lateness = duration("lateness", c.Lateness, DefaultLateness, time.Second, 10*time.Minute)
	s.peersEvery = duration("peers-every", c.PeersEvery, DefaultPeersEvery, time.Second, time.Hour)
	if s.MaxRate = cmp.Or(c.MaxRate, DefaultMaxRate); s.MaxRate < 1 {
		wrong("max-rate: %d: want 1 or more", c.MaxRate)
	}
	if s.MaxPeers = cmp.Or(c.MaxPeers, DefaultMaxPeers); s.MaxPeers < 1 || s.MaxPeers > 1_000_000 {
		wrong("max-peers: %d: want 1 to 1000000", c.MaxPeers)
	}
	if n := len(c.Monitors); n < 1 || n > MaxMonitors {
		wrong("monitors: %d of them: want 1 to %d", n, MaxMonitors)
	}
	s.broker(wrong)
	names, addresses := map[string]int{}, map[string]int{}
	withBroker := -1
	for i, m := range c.Monitors {
		key := func(name string) string { return fmt.Sprintf("monitors.%d.%s", i, name) }
		one := sourceSettings{Source: m}
		if m.Name != "" {
			if err := event.CheckName(m.Name); err != nil {
				wrong("%s: %w", key("name"), err)
			}
			if have, double := names[m.Name]; double {
				wrong("%s: %q is the name of monitors.%d: want another", key("name"), m.Name, have)
			}
			names[m.Name] = i
		}
		if one.amqp = broker.IsAddress(m.Stream); one.amqp {
			first := m
			if withBroker >= 0 {
				first = c.Monitors[withBroker]
			} else {
				withBroker = i
			}
			s.fromBroker(i, m, first, wrong)
		} else if m.Format != "" {
			wrong("%s: %q of a stream: want none, except with a broker", key("format"), m.Format)
		} else if s.reads.Part != "" {
			wrong("%s: want the address of the broker, amqp://..., of all monitors where broker.part is set", key("stream"))
		} else if err := checkAddress(m.Stream); err != nil {
			wrong("%s: %w", key("stream"), err)
		} else if have, double := addresses[m.Stream]; double {
			wrong("%s: %q is the address of monitors.%d: want another", key("stream"), m.Stream, have)
		}
		addresses[m.Stream] = i
		if have, double := names[m.Stream]; double && have != i {
			wrong("%s: %q is the name of monitors.%d: want another name there", key("stream"), m.Stream, have)
		}
		if !one.amqp && (m.TLS || m.CAFile != "" || m.TLSName != "") {
			one.stream.TLS = &tls.Config{ServerName: m.TLSName, MinVersion: tls.VersionTLS12}
		}
		one.client.Timeout = time.Minute
		if m.CAFile != "" {
			roots, err := listen.ReadRoots(m.CAFile)
			if err != nil {
				wrong("%s: %w", key("ca-file"), err)
			}
			if one.client.Roots = roots; !one.amqp {
				one.stream.TLS.RootCAs = roots
			}
		}
		if m.TokenFile != "" {
			one.stream.TokenFunc = func() (string, error) { return access.ReadSecret(m.TokenFile) }
			if _, err := access.ReadSecret(m.TokenFile); err != nil {
				wrong("%s: %w", key("token-file"), err)
			}
		}
		address := func(name, text, example string) (u *url.URL) {
			if text != "" {
				var err error
				if u, err = parseURL(text, example); err != nil {
					wrong("%s: %w", key(name), err)
				}
			}
			return u
		}
		if one.http = address("http", m.HTTP, "http://127.0.0.1:8432"); one.http != nil && one.http.Scheme == "http" && m.TokenFile != "" && !loopback(one.http.Hostname()) {
			wrong("%s: the token would leave this machine without TLS: want https", key("http"))
		}
		address("page", m.Page, "https://de1.example:8432/")
		address("api", m.API, "http://127.0.0.1:5001")
		s.sources = append(s.sources, one)
	}
	if withBroker < 0 && c.Broker != nil {
		wrong("broker: want a monitor with its address, amqp://...")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// fromBroker checks monitor i, which sends to a broker; first is the first that does.
func (s *settings) fromBroker(i int, m, first Source, wrong func(string, ...any)) {
	key := func(name string) string { return fmt.Sprintf("monitors.%d.%s", i, name) }
	if err := broker.CheckAddress(m.Stream); err != nil {
		wrong("%s: %w", key("stream"), err)
	}
	if m.Stream != first.Stream {
		wrong("%s: another broker than that of a monitor before it: want one", key("stream"))
	}
	if err := broker.CheckName(m.Name); m.Name == "" {
		wrong("%s: want the monitor's name, by which the broker knows what it sends", key("name"))
	} else if err != nil {
		wrong("%s: %w", key("name"), err)
	} else if strings.ContainsAny(m.Name, "*#") {
		wrong("%s: %q: want a name without * and #", key("name"), m.Name)
	}
	switch {
	case m.Format != "" && !slices.Contains(broker.Formats, m.Format):
		wrong("%s: %q: want v3 or v4", key("format"), m.Format)
	case m.Format == broker.V3 && s.reads.Part != "":
		wrong("%s: v3 has no parts: want v4 where broker.part is set", key("format"))
	}
	if m.TLS || m.TLSName != "" {
		wrong("%s: tls and tls-name are for a stream: want an address that begins with amqps://, whose host is the certificate's", key("tls"))
	}
	s.server.Address = m.Stream
}

// broker checks how the broker is read.
func (s *settings) broker(wrong func(string, ...any)) {
	if s.Broker != nil {
		s.reads = *s.Broker
	}
	b := &s.reads
	b.Queue = cmp.Or(b.Queue, DefaultQueue)
	if len(b.Queue) > 200 || strings.HasPrefix(b.Queue, "amq.") {
		wrong("broker.queue: %q: want at most 200 bytes, and not amq. at its beginning, which the broker has for itself", b.Queue)
	}
	var err error
	if s.buckets, err = bucketsOf(b.Part); err != nil {
		wrong("broker.part: %w", err)
	}
	s.server.PasswordFile, s.server.CAFile = b.PasswordFile, b.CAFile
	if err := s.server.Check(); err != nil {
		wrong("broker.%w", err)
	}
}

// bucketsOf returns the buckets of a part such as 1/3; nil for "": all.
func bucketsOf(part string) (out []int, err error) {
	if part == "" {
		return nil, nil
	}
	var i, n int
	if _, err := fmt.Sscanf(part, "%d/%d", &i, &n); err != nil || fmt.Sprintf("%d/%d", i, n) != part || i < 1 || n < 2 || i > n || n > broker.Buckets {
		return nil, fmt.Errorf("%q: want a part such as 1/3, of 2 to %d", part, broker.Buckets)
	}
	for b := range broker.Buckets {
		if b%n == i-1 {
			out = append(out, b)
		}
	}
	return out, nil
}

// checkAddress reports why a text is no address of a stream.
func checkAddress(a string) error {
	if path, ok := strings.CutPrefix(a, "unix:"); ok && path != "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
		return fmt.Errorf("%q: want host:port or unix:/path", a)
	}
	return nil
}

// parseURL reads the URL of a server.
func parseURL(text, example string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q: want a URL such as %s", text, example)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Line is one setting with its meaning, for people.
type Line struct{ Key, Value, Meaning string }

// Explain returns what a valid configuration does, a line for each setting, with
// the defaults.
func (c Config) Explain() ([]Line, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	var out []Line
	add := func(key, value, format string, args ...any) {
		out = append(out, Line{key, cmp.Or(value, "-"), fmt.Sprintf(format, args...)})
	}
	for i := range s.sources {
		m := &s.sources[i]
		key := func(name string) string { return fmt.Sprintf("monitors.%d.%s", i, name) }
		if m.Name != "" {
			add(key("name"), m.Name, "its name in every figure, whatever it calls itself")
		} else {
			add(key("name"), "", "it is called what it calls itself; a name that another has already is refused")
		}
		if m.amqp {
			what := "v4: in batches with numbers"
			if m.Format == broker.V3 {
				what = "v3: what the metrics exporter had, with gaps that nobody knows"
			}
			how := ""
			if s.reads.CAFile != "" {
				how = ", trusting only the certificates in " + s.reads.CAFile
			}
			if s.reads.PasswordFile != "" {
				how += ", with the password in " + s.reads.PasswordFile
			}
			add(key("stream"), s.server.Shown(), "its events are read from this broker%s; what waits there while no collector reads is read later, and so is what the monitor kept on disk", how)
			add(key("format"), cmp.Or(m.Format, broker.V4), "%s", what)
			s.explainHTTP(m, key, add)
			continue
		}
		how := "without TLS"
		switch t := m.stream.TLS; {
		case t == nil:
		case t.RootCAs != nil:
			how = "with TLS, trusting only the certificates in " + m.CAFile
		default:
			how = "with TLS, trusting this system's certificates"
		}
		if m.TLSName != "" {
			how += ", for the name " + m.TLSName
		}
		if m.TokenFile != "" {
			how += ", with the token in " + m.TokenFile
		}
		add(key("stream"), m.Stream, "its events are read from here, %s", how)
		s.explainHTTP(m, key, add)
	}
	if s.server.Address != "" {
		q, last := s.reads.Queue, broker.Buckets-1
		add("broker.queue", q, "the broker keeps what no collector has counted in %s.0 to %s.%d, and what was counted in %s-state.0 to %s-state.%d", q, q, last, q, q, last)
		if s.reads.Part == "" {
			add("broker.part", "", "all peers are read, unless another collector has the queues: then this one stands by")
		} else {
			add("broker.part", s.reads.Part, "the peers of the buckets %s are read; those of other collectors when these are gone", strings.Trim(fmt.Sprint(s.buckets), "[]"))
		}
	}
	add("lateness", units.FormatDuration(s.lateness), "an event that comes later than this after its time is counted, but not joined with those of other monitors")
	add("peers-every", units.FormatDuration(s.peersEvery), "time between two readings of connected peers")
	add("max-rate", fmt.Sprint(s.MaxRate), "events a second that are read of one monitor's stream")
	add("max-peers", fmt.Sprint(s.MaxPeers), "connected peers that are kept of one monitor")
	if s.Record != "" {
		add("record", s.Record, "all events are recorded in this folder, each monitor in a folder of its own")
	} else {
		add("record", "", "nothing is recorded")
	}
	return out, nil
}

// explainHTTP explains from where the connected peers of a monitor are.
func (s *settings) explainHTTP(m *sourceSettings, key func(string) string, add func(key, value, format string, args ...any)) {
	if m.http != nil {
		add(key("http"), m.HTTP, "its connected peers are read from here, every %s", units.FormatDuration(s.peersEvery))
	} else {
		add(key("http"), "", "its connected peers are those whose connections begin while its events are read: sizes and overlaps are too low at first")
	}
	if m.Page != "" {
		add(key("page"), m.Page, "the collector's live page links to it")
	}
	if m.API != "" {
		add(key("api"), m.API, "ipfsmon fleet gateways puts random blocks there")
	}
}
