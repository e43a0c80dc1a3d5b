package gateways

import (
	"net/url"

	"github.com/ipfsmon/ipfsmon/fleet/collect"
)

// Of returns the monitors of a collector's configuration.
func Of(cfg collect.Config) (out []Monitor, err error) {
	options, err := cfg.Subscriptions()
	if err != nil {
		return nil, err
	}
	for i, s := range cfg.Monitors {
		m := Monitor{Name: s.Name, Stream: s.Stream, Options: options[i]}
		if s.API != "" {
			if m.API, err = url.Parse(s.API); err != nil {
				return nil, err
			}
		}
		out = append(out, m)
	}
	return out, nil
}
