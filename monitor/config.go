package monitor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/derive"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/release"
	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/privacy"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Version is the version of ipfsmon, as in 0.2.0.
var Version = release.Version()

// Name is the name of the monitor in kubo's configuration and in the HTTP API. It is that of
// the plugin's predecessor, so that a node keeps its settings.
const Name = "metric-export-plugin"

// Section is the path of a Config in kubo's configuration.
const Section = "Plugins.Plugins." + Name + ".Config"

// envPrefix is the prefix of environment variables: IPFSMON_MONITOR_NAME.
const envPrefix = "IPFSMON"

// Defaults of Config.
const (
	DefaultInterval    = 10 // seconds
	DefaultAgentCutOff = 20
)

// Config has all settings. The first four keys are those of the old metrics exporter and mean
// the same; a part that is null or absent is off.
type Config struct {
	// PopulatePrometheusInterval is the interval between two samples of the node's totals, in
	// seconds. 0 or negative means the default, with a warning. Default: 10.
	PopulatePrometheusInterval int `split_words:"true"`
	// AgentVersionCutOff is how many agent versions are counted separately; the rest
	// is "others". 0 or negative means the default, with a warning. Default: 20.
	AgentVersionCutOff int `split_words:"true"`
	// TCPServerConfig is the event stream.
	TCPServerConfig *stream.Config `envconfig:"TCP"`
	// HTTPServerConfig is the HTTP API.
	HTTPServerConfig *httpapi.Config `envconfig:"HTTP"`

	// IntrospectConfig is introspection and the live page, which are on unless it turns them
	// off.
	IntrospectConfig *IntrospectConfig `json:",omitempty" envconfig:"INTROSPECT"`

	// MonitorName distinguishes this node from others: the tag "node". Default: the
	// machine's host name.
	MonitorName string `split_words:"true"`
	// InfluxDB is where points are written; without a URL none are written.
	InfluxDB *influx.Config `envconfig:"INFLUXDB"`
	// AMQPServerAddress is the broker that events are sent to:
	// amqp://user:password@host:port/vhost, or amqps:// with TLS; the virtual host
	// "/" is %2f. Default: none, and nothing is sent. Since 0.2.
	AMQPServerAddress string `json:",omitempty" split_words:"true"`
	// AMQPConfig is what is sent to the broker.
	AMQPConfig *broker.Config `json:",omitempty" envconfig:"AMQP"`

	// DataFolder is where "ipfsmon run" keeps its embedded InfluxDB. Default:
	// the folder ipfsmon in the node's repository.
	DataFolder string `split_words:"true"`
	// StoreListenAddress is where the embedded InfluxDB of "ipfsmon run"
	// listens, host:port on loopback. Default: 127.0.0.1:8086.
	StoreListenAddress string `split_words:"true"`
	// StoreMaxBytes bounds the data of the embedded InfluxDB on disk, in bytes,
	// 64 MiB or more: beyond it the oldest is deleted. Default: 0, no limit but
	// HistoryRetention.
	StoreMaxBytes units.Bytes `json:",omitempty" split_words:"true"`
	// StoreMemoryLimit is how much memory the embedded InfluxDB's process tries
	// to stay under, in bytes, 64 MiB or more. Default: 0, no limit.
	StoreMemoryLimit units.Bytes `json:",omitempty" split_words:"true"`

	// Floods is when a peer floods the node.
	Floods *derive.FloodConfig `json:",omitempty" envconfig:"FLOODS"`

	// PlainAgent makes peers see the agent version of a plain kubo, without the origin of
	// the build that kubo adds to it (kubo/0.43.1/ipfsmon/ipfsmon). A suffix in kubo's
	// Version.AgentSuffix takes the place of that origin, with or without it. Default:
	// false. Since 0.2.
	PlainAgent bool `json:",omitempty" split_words:"true"`

	// Privacy is how much the sinks see of peers and CIDs: raw, pseudonym or aggregate
	// (docs/privacy.md). Default: raw.
	Privacy privacy.Mode `split_words:"true"`
	// InfluxDBPrivacy and StreamPrivacy are the same for one sink. Default: the same as
	// Privacy.
	InfluxDBPrivacy privacy.Mode `split_words:"true"`
	StreamPrivacy   privacy.Mode `split_words:"true"`
	// AMQPPrivacy is the same for the broker. Default: the same as Privacy. Since 0.2.
	AMQPPrivacy privacy.Mode `split_words:"true"`
	// GeoIPDatabase is the path of a MaxMind DB file with countries, from MaxMind, DB-IP,
	// IPinfo or iplocate. Default: none, and events have no country.
	GeoIPDatabase string `split_words:"true"`
	// GatewayList is the path of a file with the peer IDs of gateways, one on
	// each line, # before comments; read again when it changes. Default: none.
	GatewayList string `split_words:"true"`
}

// Layers are the layers of a configuration, lowest first: defaults, a section of the program's
// own configuration (kubo's, for the plugin), the monitor's part of a file of settings, the
// environment, flags.
type Layers struct {
	Defaults func(*Config) // nil: none beyond those of Config
	Section  any           // as encoding/json decodes it into an any; nil: none
	Path     string        // of Section, for errors and warnings; "": the constant of that name
	File     any           // as Section; nil: none
	Flags    func(*Config) // nil: none
}

// FileKey is the key of Layers.File in a file of settings; its errors begin with it.
const FileKey = "monitor"

func (l Layers) path() string { return cmp.Or(l.Path, Section) }

// Names of the sources that Effective returns.
const (
	FromDefault = "default"
	FromKubo    = "kubo config"
	FromFile    = "file"
	FromEnv     = "environment"
	FromFlag    = "flag"
)

// Effective merges the layers and validates the result. sources has for each key
// (TCPServerConfig.ListenAddresses) the layer that set it last. The error lists everything that
// is wrong, by the flag, variable or key that it came from, with what is wanted.
func (l Layers) Effective() (cfg *Config, sources map[string]string, err error) {
	cfg, sources = new(Config), make(map[string]string)
	seen := map[string]string{}
	mark := func(source string) {
		now := flatten(cfg)
		for key, v := range now {
			if old, ok := seen[key]; !ok || old != v {
				sources[key] = source
			}
		}
		seen = now
	}
	if l.Defaults != nil {
		l.Defaults(cfg)
	}
	mark(FromDefault)
	if section, _ := translate(l.path(), l.Section); section != nil {
		err = settings.Decode(l.path(), section, cfg)
	}
	mark(FromKubo)
	if l.File != nil {
		err = errors.Join(err, settings.Decode(FileKey, l.File, cfg))
	}
	mark(FromFile)
	err = errors.Join(err, settings.FromEnv(envPrefix, cfg))
	mark(FromEnv)
	if err != nil { // values that could not be parsed are not validated
		return nil, nil, err
	}
	if l.Flags != nil {
		l.Flags(cfg)
	}
	mark(FromFlag)
	cfg.fill()
	mark(FromDefault)
	return cfg, sources, named(l.path(), append(settings.Split(paths.Expand(cfg.paths())), settings.Split(cfg.validate())...), seen, sources)
}

// fill sets missing values to defaults.
func (c *Config) fill() {
	if c.PopulatePrometheusInterval <= 0 {
		c.PopulatePrometheusInterval = DefaultInterval
	}
	if c.AgentVersionCutOff <= 0 {
		c.AgentVersionCutOff = DefaultAgentCutOff
	}
	if c.MonitorName == "" {
		c.MonitorName, _ = os.Hostname() // validate rejects an empty one
	}
	c.Privacy = cmp.Or(c.Privacy, privacy.Raw)
	c.InfluxDBPrivacy = cmp.Or(c.InfluxDBPrivacy, c.Privacy)
	c.StreamPrivacy = cmp.Or(c.StreamPrivacy, c.Privacy)
	c.AMQPPrivacy = cmp.Or(c.AMQPPrivacy, c.Privacy)
}

// paths are the settings that are paths, by key: a leading ~ is replaced there.
func (c *Config) paths() map[string]*string {
	out := map[string]*string{}
	add := func(key string, path *string) { out[key] = path }
	each := func(key string, list []string) {
		for i := range list {
			add(fmt.Sprintf("%s.%d", key, i), &list[i])
		}
	}
	add("DataFolder", &c.DataFolder)
	add("GeoIPDatabase", &c.GeoIPDatabase)
	add("GatewayList", &c.GatewayList)
	server := func(part string, s *access.Config) {
		add(part+".TLSCertFile", &s.TLSCertFile)
		add(part+".TLSKeyFile", &s.TLSKeyFile)
		each(part+".TokenFiles", s.TokenFiles)
	}
	if s := c.TCPServerConfig; s != nil {
		server("TCPServerConfig", &s.Config)
	}
	if s := c.HTTPServerConfig; s != nil {
		server("HTTPServerConfig", &s.Config)
	}
	if s := c.IntrospectConfig; s != nil {
		server("IntrospectConfig", &s.Config)
	}
	if s := c.AMQPConfig; s != nil {
		add("AMQPConfig.PasswordFile", &s.PasswordFile)
		add("AMQPConfig.CAFile", &s.CAFile)
	}
	if s := c.InfluxDB; s != nil {
		add("InfluxDB.PasswordFile", &s.PasswordFile)
		add("InfluxDB.TokenFile", &s.TokenFile)
		add("InfluxDB.SpoolDir", &s.SpoolDir)
		for i := range s.Also {
			add(fmt.Sprintf("InfluxDB.Also.%d.PasswordFile", i), &s.Also[i].PasswordFile)
			add(fmt.Sprintf("InfluxDB.Also.%d.TokenFile", i), &s.Also[i].TokenFile)
		}
	}
	return out
}

func (c *Config) validate() error {
	var errs []error
	add := func(key string, err error) {
		for _, e := range settings.Split(err) {
			errs = append(errs, fmt.Errorf("%s: %w", key, e))
		}
	}
	if c.MonitorName == "" {
		add("MonitorName", errors.New("is empty and the machine has no host name: want a name for this monitor"))
	} else {
		add("MonitorName", event.CheckName(c.MonitorName))
	}
	if c.TCPServerConfig != nil {
		add("TCPServerConfig", c.TCPServerConfig.Validate())
	}
	if c.HTTPServerConfig != nil {
		add("HTTPServerConfig", c.HTTPServerConfig.Validate())
	}
	if c.IntrospectConfig != nil {
		add("IntrospectConfig", c.IntrospectConfig.Validate())
	}
	if c.InfluxDB != nil {
		add("InfluxDB", c.InfluxDB.Validate())
	}
	if c.AMQPServerAddress != "" {
		add("AMQPServerAddress", broker.CheckAddress(c.AMQPServerAddress))
		if event.CheckName(c.MonitorName) == nil { // else the error is reported already
			add("MonitorName", broker.CheckName(c.MonitorName))
		}
	}
	if s := c.AMQPConfig; s != nil {
		add("AMQPConfig", s.Validate())
		switch {
		case c.AMQPServerAddress == "":
			add("AMQPServerAddress", errors.New("is empty, and AMQPConfig is set: want the address of a broker"))
		case s.Has(broker.V4) && c.DataFolder == "":
			add("DataFolder", errors.New("is empty: the batches of v4 need a folder to wait in"))
		}
	}
	if c.Floods != nil {
		add("Floods", c.Floods.Validate())
	}
	for key, n := range map[string]units.Bytes{"StoreMaxBytes": c.StoreMaxBytes, "StoreMemoryLimit": c.StoreMemoryLimit} {
		if n != 0 && n < 64<<20 {
			add(key, fmt.Errorf("%d: want 0 for none, or 64MiB or more", n))
		}
	}
	add("Privacy", c.Privacy.Check())
	if c.InfluxDBPrivacy != c.Privacy { // else the error is reported already
		add("InfluxDBPrivacy", c.InfluxDBPrivacy.Check())
	}
	if c.StreamPrivacy != c.Privacy {
		add("StreamPrivacy", c.StreamPrivacy.Check())
	}
	if c.AMQPPrivacy != c.Privacy {
		add("AMQPPrivacy", c.AMQPPrivacy.Check())
	}
	if c.pseudonyms() && c.DataFolder == "" {
		add("DataFolder", errors.New("is empty: pseudonyms need a folder for their key"))
	}
	add("GeoIPDatabase", readable(c.GeoIPDatabase))
	add("GatewayList", readable(c.GatewayList))
	return errors.Join(errs...)
}

// pseudonyms reports whether any enabled sink shows pseudonyms.
func (c *Config) pseudonyms() bool {
	return c.TCPServerConfig != nil && c.StreamPrivacy == privacy.Pseudonym ||
		c.InfluxDB != nil && c.InfluxDB.URL != "" && c.InfluxDBPrivacy == privacy.Pseudonym ||
		c.AMQPServerAddress != "" && c.AMQPPrivacy == privacy.Pseudonym
}

// readable returns why a configured file cannot be read.
func readable(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("want a file that can be read: %w", err)
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("want a file that can be read: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("want a file that can be read: %w", err)
	}
	return f.Close()
}

// secretKeys are shown masked.
var secretKeys = []string{"Token", "Password"}

// flatten returns every key that is set with its value as JSON, secrets unmasked.
func flatten(cfg *Config) map[string]string {
	out := make(map[string]string)
	b, err := json.Marshal(cfg)
	if err != nil {
		return out // only plain data in it
	}
	var obj map[string]any
	if json.Unmarshal(b, &obj) == nil {
		flattenInto(out, "", obj)
	}
	return out
}

func flattenInto(out map[string]string, path string, obj map[string]any) {
	for key, v := range obj {
		switch v := v.(type) {
		case nil:
		case map[string]any:
			flattenInto(out, path+key+".", v)
		case []any:
			items := make(map[string]any, len(v))
			for i, item := range v {
				if _, ok := item.(map[string]any); !ok {
					items = nil
					break
				}
				items[strconv.Itoa(i)] = item
			}
			if len(items) > 0 { // a list of objects, as InfluxDB.Also
				flattenInto(out, path+key+".", items)
			} else if b, err := json.Marshal(v); err == nil {
				out[path+key] = string(b)
			}
		default:
			if b, err := json.Marshal(v); err == nil && string(b) != `""` {
				out[path+key] = string(b)
			}
		}
	}
}

// redacted masks the password of an address, which is JSON.
func redacted(v string) string {
	var address string
	if json.Unmarshal([]byte(v), &address) != nil {
		return `"***"`
	}
	u, err := url.Parse(address)
	if err != nil {
		return `"***"`
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "***")
		address = strings.Replace(u.String(), "%2A%2A%2A", "***", 1)
	}
	b, _ := json.Marshal(address) // a string always has a JSON form
	return string(b)
}

// Entry is one key of the effective configuration.
type Entry struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // JSON; secrets masked
	Source string `json:"source"`
}

// Entries lists a configuration by key, secrets masked.
func Entries(cfg *Config, sources map[string]string) []Entry {
	var out []Entry
	for key, v := range flatten(cfg) {
		if slices.Contains(secretKeys, key[strings.LastIndexByte(key, '.')+1:]) {
			v = `"***"`
		}
		if key == "AMQPServerAddress" {
			v = redacted(v)
		}
		out = append(out, Entry{key, v, sources[key]})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}
