package monitor

import (
	"fmt"
	"path/filepath"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
)

// openBroker creates the sink of the AMQP broker, if one is configured.
func (m *Monitor) openBroker() (err error) {
	if m.Config.AMQPServerAddress == "" {
		return nil
	}
	var c broker.Config
	if m.Config.AMQPConfig != nil {
		c = *m.Config.AMQPConfig
	}
	c.Address, c.Logger = m.Config.AMQPServerAddress, m.log
	if m.Config.DataFolder != "" {
		if c.SpoolDir, err = filepath.Abs(filepath.Join(m.Config.DataFolder, "broker")); err != nil {
			return fmt.Errorf("find the data folder: %w", err)
		}
	}
	if m.broker, err = broker.New(c, m.Config.MonitorName); err != nil {
		return fmt.Errorf("unable to send to the AMQP broker: %w", err)
	}
	return nil
}

// brokerStatus returns the counters of what is sent to the broker; nil when it is off.
func (m *Monitor) brokerStatus() *pipeline.Broker {
	if m.broker == nil {
		return nil
	}
	all, panics := m.broker.Stats()
	return &pipeline.Broker{Exchanges: all, Panics: panics}
}

// brokerClosing returns a line for each format of which not everything was delivered.
func (m *Monitor) brokerClosing() (lines []string) {
	if b := m.brokerStatus(); b != nil {
		lines = undelivered(b.Exchanges)
	}
	return lines
}

// undelivered returns a line for each exchange that did not get everything.
func undelivered(all []pipeline.Exchange) (lines []string) {
	for _, x := range all {
		lost := x.Dropped + x.Rejected
		if lost == 0 && x.Queued == 0 {
			continue
		}
		line := fmt.Sprintf("Broker, %s: %d events are delivered, %d wait for the next run, %d are lost.", x.Name, x.Delivered, x.Queued, lost)
		if x.LastError != "" {
			line += " The last error: " + x.LastError
		}
		lines = append(lines, line)
	}
	return lines
}
