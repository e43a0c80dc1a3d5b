package loopback

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/ipfs/kubo/config"
)

// Fault is a key of a kubo configuration with a value by which its node might
// reach beyond the loopback interface.
type Fault struct {
	Key  string // as for `ipfs config`: Addresses.API
	Has  string // its value as JSON; "nothing" if it has none
	Want string // what it should be
}

func (f Fault) String() string { return fmt.Sprintf("%s is %s: want %s", f.Key, f.Has, f.Want) }

// addressKeys are the keys of addresses; every loopback address is fine there.
var addressKeys = []string{
	"Addresses.Swarm", "Addresses.Announce", "Addresses.AppendAnnounce", "Addresses.API", "Addresses.Gateway", "Bootstrap", "Peering.Peers",
}

// localDHTs are the values of Routing.Type without requests over HTTP.
var localDHTs = []any{"dht", "dhtclient", "dhtserver", "none"}

// Check returns the keys by which a configuration differs from one that Apply
// made, sorted; none: its node is confined to loopback. Settings that cannot lead
// beyond loopback may differ: listen addresses and known peers on loopback, the
// addresses that it does not announce, and the kind of DHT.
func Check(cfg *config.Config) ([]Fault, error) {
	applied, err := cfg.Clone()
	if err != nil {
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	Apply(applied)
	haves, err := flatten(cfg)
	if err != nil {
		return nil, err
	}
	wants, err := flatten(applied)
	if err != nil {
		return nil, err
	}
	for key := range haves {
		if _, ok := wants[key]; !ok {
			wants[key] = nil
		}
	}
	var faults []Fault
	for key, want := range wants {
		have := haves[key]
		f := Fault{key, text(have), text(want)}
		switch {
		case slices.Contains(addressKeys, key):
			f.Want = "addresses in 127.0.0.0/8 only"
			if !leaves(have) {
				continue
			}
		case key == "Addresses.NoAnnounce", key == "Routing.Type" && slices.Contains(localDHTs, have):
			continue
		case reflect.DeepEqual(have, want), empty(have) && empty(want):
			continue
		}
		faults = append(faults, f)
	}
	slices.SortFunc(faults, func(a, b Fault) int { return strings.Compare(a.Key, b.Key) })
	return faults, nil
}

// leaves reports whether any of these addresses, multiaddrs or peers with
// multiaddrs, may be beyond loopback. IPv6 counts as beyond: an isolated node
// refuses it.
func leaves(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		parts := strings.Split(v, "/")
		if len(parts) > 2 && parts[0] == "" && parts[1] == "ip4" {
			ip, err := netip.ParseAddr(parts[2])
			return err != nil || !ip.IsLoopback()
		}
		return len(parts) < 3 || parts[0] != "" || parts[1] != "unix"
	case []any:
		return slices.ContainsFunc(v, leaves)
	case map[string]any:
		return leaves(v["Addrs"])
	}
	return true
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func text(v any) string {
	if v == nil {
		return "nothing"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// flatten returns the values of a configuration by key. Lists are values, and so
// is the map of resolvers, because their names have dots.
func flatten(cfg *config.Config) (map[string]any, error) {
	b, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	out := map[string]any{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if inner, ok := v.(map[string]any); ok && len(inner) > 0 && path != "DNS.Resolvers" {
			for key, v := range inner {
				walk(strings.TrimPrefix(path+"."+key, "."), v)
			}
			return
		}
		out[path] = v
	}
	walk("", all)
	return out, nil
}
