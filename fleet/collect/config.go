package collect

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

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
	// Record is the folder into which all events are recorded, each monitor in a
	// folder of its own. Default: none.
	Record string `json:"record,omitempty"`
}

// Source is one monitor of a Config.
type Source struct {
	// Name is the name of the monitor in every figure. Default: the name that it
	// sends.
	Name string `json:"name,omitempty"`
	// Stream is the address of its event stream, host:port or unix:/path.
	Stream string `json:"stream"`
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
}

// sourceSettings is a parsed Source.
type sourceSettings struct {
	Source
	stream stream.Options
	http   *url.URL // nil: none
	client listen.To
}

// Validate reports all errors of a configuration, with the key of each.
func (c Config) Validate() error {
	_, err := c.settings()
	return err
}

// Paths are the settings that are paths, by key.
func (c *Config) paths() map[string]*string {
	out := map[string]*string{"record": &c.Record}
	for i := range c.Monitors {
		out[fmt.Sprintf("monitors.%d.ca-file", i)] = &c.Monitors[i].CAFile
		out[fmt.Sprintf("monitors.%d.token-file", i)] = &c.Monitors[i].TokenFile
	}
	return out
}

func (c Config) settings() (*settings, error) {
	c.Monitors = append([]Source(nil), c.Monitors...)
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
	names, addresses := map[string]int{}, map[string]int{}
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
		if err := checkAddress(m.Stream); err != nil {
			wrong("%s: %w", key("stream"), err)
		} else if have, double := addresses[m.Stream]; double {
			wrong("%s: %q is the address of monitors.%d: want another", key("stream"), m.Stream, have)
		}
		addresses[m.Stream] = i
		if have, double := names[m.Stream]; double && have != i {
			wrong("%s: %q is the name of monitors.%d: want another name there", key("stream"), m.Stream, have)
		}
		if m.TLS || m.CAFile != "" || m.TLSName != "" {
			one.stream.TLS = &tls.Config{ServerName: m.TLSName, MinVersion: tls.VersionTLS12}
		}
		one.client.Timeout = time.Minute
		if m.CAFile != "" {
			roots, err := listen.ReadRoots(m.CAFile)
			if err != nil {
				wrong("%s: %w", key("ca-file"), err)
			}
			one.stream.TLS.RootCAs, one.client.Roots = roots, roots
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
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
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
		if m.http != nil {
			add(key("http"), m.HTTP, "its connected peers are read from here, every %s", units.FormatDuration(s.peersEvery))
		} else {
			add(key("http"), "", "its connected peers are those whose connections begin while its stream is read: sizes and overlaps are too low at first")
		}
		if m.Page != "" {
			add(key("page"), m.Page, "the collector's live page links to it")
		}
		if m.API != "" {
			add(key("api"), m.API, "ipfsmon fleet gateways puts random blocks there")
		}
	}
	add("lateness", units.FormatDuration(s.lateness), "an event that comes later than this after its time is counted, but not joined with those of other monitors")
	add("peers-every", units.FormatDuration(s.peersEvery), "time between two readings of connected peers")
	add("max-rate", fmt.Sprint(s.MaxRate), "events a second that are read of one monitor")
	add("max-peers", fmt.Sprint(s.MaxPeers), "connected peers that are kept of one monitor")
	if s.Record != "" {
		add("record", s.Record, "all events are recorded in this folder, each monitor in a folder of its own")
	} else {
		add("record", "", "nothing is recorded")
	}
	return out, nil
}
