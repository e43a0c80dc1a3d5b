package monitor

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/settings"
)

// translate converts the keys of the metrics exporter's first and last versions to ours, and
// drops those without an equivalent. The warnings report what was done with each, and what
// replaces it. A value that is not an object, or has no such key, is returned unchanged.
func translate(path string, section any) (out any, warnings []string) {
	given, ok := section.(map[string]any)
	if !ok {
		return section, nil
	}
	all := maps.Clone(given)
	warn := func(key, format string, args ...any) {
		warnings = append(warnings, path+"."+key+": "+fmt.Sprintf(format, args...))
	}
	// rename moves the value of an old key to its successor, which wins if both exist.
	rename := func(obj map[string]any, path, old, successor string, value func(any) any) {
		for _, key := range keysLike(obj, old) {
			if len(keysLike(obj, successor)) == 0 {
				obj[successor] = value(obj[key])
				warn(path+old, "is now called %s, and used as that", path+successor)
			} else {
				warn(path+old, "is ignored, because %s is set too", path+successor)
			}
			delete(obj, key)
		}
	}
	same := func(v any) any { return v }
	rename(all, "", "QueryPeerListIntervalSeconds", "PopulatePrometheusInterval", same)
	for _, part := range []string{"TCPServerConfig", "HTTPServerConfig"} {
		for _, key := range keysLike(all, part) {
			if server, ok := all[key].(map[string]any); ok {
				server = maps.Clone(server)
				rename(server, part+".", "ListenAddress", "ListenAddresses", func(v any) any { return []any{v} })
				all[key] = server
			}
		}
	}
	for _, key := range keysLike(all, "EnableBitswapDiscoveryProbe") {
		on := all[key] == true
		delete(all, key)
		server := withTokens(all)
		switch {
		case !on:
			warn("EnableBitswapDiscoveryProbe", "is now called HTTPServerConfig.EnableBroadcast")
		case server == nil:
			warn("EnableBitswapDiscoveryProbe", "the probe is off, because only requests with a token may use it: want HTTPServerConfig.TokenFiles beside it")
		case len(keysLike(server, "EnableBroadcast")) > 0:
			warn("EnableBitswapDiscoveryProbe", "is ignored, because HTTPServerConfig.EnableBroadcast is set too")
		default:
			server["EnableBroadcast"] = true
			warn("EnableBitswapDiscoveryProbe", "is now called HTTPServerConfig.EnableBroadcast, and used as that")
		}
	}
	if len(warnings) == 0 && len(keysLike(all, "AMQPServerAddress")) == 0 {
		return section, nil
	}
	// The section is an old exporter's, which listened at any configured address.
	for _, part := range []string{"TCPServerConfig", "HTTPServerConfig"} {
		for _, key := range keysLike(all, part) {
			if server, ok := all[key].(map[string]any); ok && !protected(server) {
				keepLocal(server, func(from, to string) {
					warn(part+".ListenAddresses", "%s is not a loopback address, and nothing listens beyond loopback without TLS and a token: using %s; "+
						"set TLSCertFile, TLSKeyFile and TokenFiles there, or AllowInsecure", from, to)
				})
			}
		}
	}
	return all, warnings
}

// withTokens returns the section of the HTTP API if it has files of tokens, else nil.
func withTokens(all map[string]any) map[string]any {
	for _, key := range keysLike(all, "HTTPServerConfig") {
		if server, ok := all[key].(map[string]any); ok && len(keysLike(server, "TokenFiles")) > 0 {
			return server
		}
	}
	return nil
}

// protected reports whether a server's section has settings for access control: then it is not
// an old exporter's.
func protected(server map[string]any) bool {
	for _, key := range []string{"TLSCertFile", "TLSKeyFile", "TokenFiles", "AllowInsecure"} {
		if len(keysLike(server, key)) > 0 {
			return true
		}
	}
	return false
}

// keepLocal replaces each address beyond loopback by the same port on loopback.
func keepLocal(server map[string]any, moved func(from, to string)) {
	for _, key := range keysLike(server, "ListenAddresses") {
		list, _ := server[key].([]any)
		list = slices.Clone(list)
		for i, a := range list {
			address, _ := a.(string)
			if _, port, err := net.SplitHostPort(address); err == nil && !listen.Local(address) {
				list[i] = net.JoinHostPort("127.0.0.1", port)
				moved(address, list[i].(string))
			}
		}
		server[key] = list
	}
}

// keysLike returns the keys of an object that encoding/json matches to a name.
func keysLike(obj map[string]any, name string) (out []string) {
	for key := range obj {
		if strings.EqualFold(key, name) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// Warnings returns what in kubo's section works, but perhaps not as intended: keys of the old
// exporter with a new meaning, values that are not used, secrets that others can read. Each
// begins with its key.
func (l Layers) Warnings() []string {
	translated, out := translate(l.path(), l.Section)
	section, _ := translated.(map[string]any)
	for _, name := range []string{"PopulatePrometheusInterval", "AgentVersionCutOff"} {
		for _, key := range keysLike(section, name) {
			if n, ok := section[key].(float64); ok && n <= 0 {
				out = append(out, fmt.Sprintf("%s.%s: %v is not positive, using the default", l.path(), name, n))
			}
		}
	}
	var cfg Config
	if settings.Decode(l.path(), translated, &cfg) == nil {
		if cfg.InfluxDB != nil {
			out = append(out, exposed(l.path(), cfg.InfluxDB)...)
		}
		if u, err := url.Parse(cfg.AMQPServerAddress); err == nil && u.User != nil {
			// RabbitMQ's guest, whose password is known, is no secret.
			if p, has := u.User.Password(); has && p != "guest" {
				out = append(out, secret(l.path(), "AMQPServerAddress", "AMQPConfig.PasswordFile, with the name in the address"))
			}
		}
	}
	return out
}

// secret is the warning of a secret in kubo's configuration.
func secret(section, key, instead string) string {
	return fmt.Sprintf("%s.%s: a secret in kubo's configuration, which `ipfs config show` and the RPC API print; "+
		"write it into a file that only the node's user can read, and name that in %s", section, key, instead)
}

// exposed returns the secrets that are in kubo's configuration itself.
func exposed(section string, c *influx.Config) (out []string) {
	add := func(key, instead string) { out = append(out, secret(section, key, instead)) }
	check := func(path, token, password, address string) {
		if token != "" {
			add(path+"Token", path+"TokenFile")
		}
		if password != "" {
			add(path+"Password", path+"PasswordFile")
		}
		if u, err := url.Parse(address); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				add(path+"URL", path+"PasswordFile, with the name in "+path+"Username")
			}
		}
	}
	check("InfluxDB.", c.Token, c.Password, c.URL)
	for i, also := range c.Also {
		check(fmt.Sprintf("InfluxDB.Also.%d.", i), also.Token, also.Password, also.URL)
	}
	return out
}
