package influx

import (
	"context"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/delivery"
)

// Config describes where the points are sent and how.
type Config = client.Config

// Sink writes the events of a bus to InfluxDB.
type Sink = delivery.Sink

// Stats is the state of a Sink.
type Stats = delivery.Stats

// New creates a sink for the node with this name (the tag node) without connecting.
func New(cfg Config, node string) (*Sink, error) { return delivery.New(cfg, node) }

// Drain delivers what an ended monitor left in cfg.SpoolDir, until it is empty, ctx is done or
// the server has accepted nothing for a while. It calls progress about once a second.
func Drain(ctx context.Context, cfg Config, progress func(Stats)) (Stats, error) {
	return delivery.Drain(ctx, cfg, progress)
}
