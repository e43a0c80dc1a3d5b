package monitor

import (
	"fmt"
	"path/filepath"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/geo"
	"github.com/ipfsmon/ipfsmon/privacy"
)

// openPrivacy creates the filters of the sinks, which share one key.
func (m *Monitor) openPrivacy() (err error) {
	var key *privacy.Key
	if m.Config.pseudonyms() {
		if key, err = privacy.OpenKey(filepath.Join(m.Config.DataFolder, privacy.KeyFile), m.log); err != nil {
			return err
		}
	}
	m.filters = make(map[string]*privacy.Filter)
	add := func(sink string, on bool, mode privacy.Mode) {
		if on && err == nil {
			m.filters[sink], err = privacy.New(mode, key, m.log)
		}
	}
	add("stream", m.stream != nil, m.Config.StreamPrivacy)
	add("influx", m.influx != nil, m.Config.InfluxDBPrivacy)
	add("broker", m.broker != nil, m.Config.AMQPPrivacy)
	return err
}

// subscribe adds the reader of a sink, which reads through the sink's filter. The
// stream alone has the events that a collector has from other monitors: figures of
// them are made by those, and by the collector.
func (m *Monitor) subscribe(sink string) *bus.Reader {
	r := m.bus.Subscribe(sink)
	f := m.filters[sink]
	switch {
	case sink != "stream":
		r.Map(func(e *event.Event) *event.Event {
			if e = own(e); e != nil && f != nil {
				e = f.Apply(e)
			}
			return e
		})
	case f != nil:
		r.Map(f.Apply)
	}
	return r
}

// own returns an event that this monitor saw itself, nil for those of others.
func own(e *event.Event) *event.Event {
	if e.Monitor != "" {
		return nil
	}
	return e
}

// openOrigin sets the capture's lookup of countries and gateways, if a file is configured. The
// capture has not started yet.
func (m *Monitor) openOrigin(c *capture.Capture) (err error) {
	if m.Config.GeoIPDatabase == "" && m.Config.GatewayList == "" {
		return nil
	}
	m.origin, err = geo.Open(geo.Config{GeoIPDatabase: m.Config.GeoIPDatabase, GatewayList: m.Config.GatewayList, Logger: m.log})
	if err != nil {
		return fmt.Errorf("open the lookup of peers' origins: %w", err)
	}
	c.SetOrigin(m.origin)
	return nil
}

// followOrigin looks up all peers again when the list of gateways changes, until the monitor
// closes.
func (m *Monitor) followOrigin(c *capture.Capture) {
	for {
		select {
		case <-m.origin.Changed():
			c.OriginChanged()
		case <-m.done:
			return
		}
	}
}
