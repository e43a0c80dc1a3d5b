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

// Fault is one key of a kubo configuration by which its node might leave the
// loopback interface.
type Fault struct {
	Key  string // as `ipfs config` takes it: Addresses.API
	Has  string // its value as JSON, "nothing" where there is none
	Want string // what is wanted in its place
}

func (f Fault) String() string { return fmt.Sprintf("%s is %s: want %s", f.Key, f.Has, f.Want) }

// addressKeys hold addresses, and any that are on loopback are good.
var addressKeys = []string{
	"Addresses.Swarm", "Addresses.Announce", "Addresses.AppendAnnounce", "Addresses.API", "Addresses.Gateway", "Bootstrap", "Peering.Peers",
}

// localDHTs are the values of Routing.Type by which nobody is asked over HTTP.
var localDHTs = []any{"dht", "dhtclient", "dhtserver", "none"}

// Check says how a configuration differs from one that Apply made, sorted by
// key; none: its node keeps to loopback. What cannot lead away from there may
// be as the user wants it: the addresses that the node listens on and the
// peers that it knows, as long as they are on loopback, what it does not
// announce, and a DHT of any kind.
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
			f.Want = "addresses of 127.0.0.0/8 alone"
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

// leaves says whether any of these addresses, multiaddrs or peers with some,
// may be beyond loopback. IPv6 is among what an isolated node refuses.
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

// flatten lists a configuration by key. Lists, and the resolvers, whose names
// have dots, are values.
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
