package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	read "github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// MainDestination is the name of the destination that Config itself describes.
const MainDestination = "main"

// maxDestinations bounds the main destination and Config.Also together: each has its own queue
// in memory.
const maxDestinations = 8

// alsoKey is the key of the list.
const alsoKey = "Also"

// destinationName matches valid destination names: a name becomes a label value and the end of
// a folder's name.
var destinationName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// Destination is a further server that gets all points, beside the one in Config. The keys mean
// the same as there. BatchSize, FlushInterval, QueueBytes, SpoolSyncEvery and Concurrency are
// shared by all destinations; HistoryRetention, Timeout, SpoolMaxBytes and SpoolMaxAge default
// to those of Config.
type Destination struct {
	// Name identifies it in the log, in metrics and as a folder of the
	// spool: 1 to 32 of a-z, 0-9, _ and -. A renamed destination is a new one: it does not
	// deliver what is spooled under the old name.
	Name string
	// URL of the server: http or https.
	URL     string
	Version string `json:",omitempty"`

	Database     string `json:",omitempty"`
	Username     string `json:",omitempty"`
	Password     string `json:",omitempty"`
	PasswordFile string `json:",omitempty"`
	Org          string `json:",omitempty"`
	Bucket       string `json:",omitempty"`
	Token        string `json:",omitempty"`
	TokenFile    string `json:",omitempty"`
	Proxy        string `json:",omitempty"`

	CreateDatabase   *bool       `json:",omitempty"`
	History          *bool       `json:",omitempty"`
	HistoryRetention string      `json:",omitempty"`
	Rollups          *bool       `json:",omitempty"`
	Timeout          string      `json:",omitempty"`
	Gzip             string      `json:",omitempty"`
	SpoolMaxBytes    units.Bytes `json:",omitempty"`
	SpoolMaxAge      string      `json:",omitempty"`
}

// Destinations is a list of them; in the environment it is written as JSON.
type Destinations []Destination

// Decode reads the value of an environment variable (envconfig.Decoder). Its
// error does not repeat the value, which may hold a token.
func (d *Destinations) Decode(value string) error {
	const want = `want a JSON list like [{"Name": "cloud", "URL": "https://influx.example"}]`
	var one struct{ Also []Destination }
	var list any
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return errors.New(want + "; it is not valid JSON")
	}
	if err := read.Decode(alsoKey, map[string]any{"Also": list}, &one); err != nil {
		return fmt.Errorf("%s; %s", want, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	*d = one.Also
	return nil
}

// with returns the complete configuration of a further destination of c.
func (c Config) with(d Destination) Config {
	one := c
	one.Also = nil
	one.URL, one.Version, one.Database, one.Proxy = d.URL, d.Version, d.Database, d.Proxy
	one.Username, one.Password, one.PasswordFile = d.Username, d.Password, d.PasswordFile
	one.Org, one.Bucket, one.Token, one.TokenFile = d.Org, d.Bucket, d.Token, d.TokenFile
	one.CreateDatabase, one.History, one.Rollups, one.Gzip = d.CreateDatabase, d.History, d.Rollups, d.Gzip
	override(&one.HistoryRetention, d.HistoryRetention)
	override(&one.Timeout, d.Timeout)
	override(&one.SpoolMaxBytes, d.SpoolMaxBytes)
	override(&one.SpoolMaxAge, d.SpoolMaxAge)
	if c.SpoolDir != "" && c.SpoolDir != InMemory {
		one.SpoolDir = filepath.Join(c.SpoolDir, SpoolPrefix+d.Name)
	}
	return one
}

// SpoolPrefix begins the names of the further destinations' folders inside the main one's
// spool, so that no name collides with a file of the spool.
const SpoolPrefix = "to-"

func override[T comparable](to *T, by T) {
	var zero T
	if by != zero {
		*to = by
	}
}

// Destination returns the configuration of one destination by its name, for a sink, a client or
// Drain. The error lists the names that exist.
func (c Config) Destination(name string) (Config, error) {
	names := []string{MainDestination}
	for _, d := range c.Also {
		if d.Name == name {
			return c.with(d), nil
		}
		names = append(names, d.Name)
	}
	if name != MainDestination {
		return Config{}, fmt.Errorf("influx: unknown destination %q: want one of %q", name, names)
	}
	c.Also = nil
	return c, nil
}

// ResolveAll resolves each destination, the first one first.
func (c Config) ResolveAll() ([]Settings, error) {
	main, err := c.resolve()
	main.Name = MainDestination
	all, errs := []Settings{main}, []error{err}
	if len(c.Also) > 0 && main.Base.Scheme != "http" && main.Base.Scheme != "https" {
		errs = append(errs, fmt.Errorf("%s: the URL %q cannot be combined with others: want http or https for every one of several destinations", alsoKey, main.Base.Redacted()))
	}
	if len(c.Also) >= maxDestinations {
		errs = append(errs, fmt.Errorf("%s: %d destinations: want at most %d", alsoKey, len(c.Also), maxDestinations-1))
	}
	for i, d := range c.Also {
		if !destinationName.MatchString(d.Name) || d.Name == MainDestination ||
			slices.ContainsFunc(c.Also[:i], func(o Destination) bool { return o.Name == d.Name }) {
			errs = append(errs, fmt.Errorf("Also.%d.Name: %q: want a unique name, 1 to 32 of a-z, 0-9, _ and -, and not %q", i, d.Name, MainDestination))
			continue
		}
		if d.URL == "" {
			errs = append(errs, fmt.Errorf("Also.%s.URL: missing: want http://host:port or https://host:port", d.Name))
			continue
		}
		set, err := c.with(d).resolve()
		for _, e := range split(err) {
			errs = append(errs, fmt.Errorf("Also.%s.%w", d.Name, e))
		}
		if err == nil && set.Base.Scheme != "http" && set.Base.Scheme != "https" {
			errs = append(errs, fmt.Errorf("Also.%s.URL: %q: want http://host:port or https://host:port", d.Name, set.Base.Redacted()))
		}
		set.Name = d.Name
		all = append(all, set)
	}
	var flat []error
	for _, err := range errs {
		flat = append(flat, split(err)...)
	}
	return all, errors.Join(flat...)
}

// split returns the errors that errors.Join joined.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}
