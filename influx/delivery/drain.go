package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// Drain delivers what is in cfg.SpoolDir, which no running monitor may have, to
// the server of cfg, until it is empty, ctx is done or the server has taken
// nothing for a while; then the rest stays on disk. It calls progress about each second.
func Drain(ctx context.Context, cfg client.Config, progress func(Stats)) (Stats, error) {
	if cfg.SpoolDir == "" || cfg.SpoolDir == client.InMemory {
		return Stats{}, errors.New("influx: drain: SpoolDir is missing: want the folder of a spool")
	}
	if len(cfg.Also) > 0 {
		return Stats{}, errors.New("influx: drain: the configuration is of several destinations; give that of one, as Config.Destination does")
	}
	s, err := New(cfg, "drain")
	if err != nil {
		return Stats{}, err
	}
	if s.unacked != nil {
		return Stats{}, errors.New("influx: drain: the URL is not that of a server: want http or https")
	}
	o := s.to[0]
	o.queue.seal()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := o.start(ctx)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var stuck Stuck
	for more := true; more; {
		select {
		case <-done:
			more = false
		case <-t.C:
			progress(s.Stats())
			if stuck.Check(s) != nil {
				stop()
			}
		}
	}
	_ = o.finish() // what is left is reported below
	st := s.Stats()
	if st.Queued > 0 {
		return st, fmt.Errorf("influx: drain: %d points are still in %s: %s", st.Queued, cfg.SpoolDir, st.LastError)
	}
	return st, nil
}
