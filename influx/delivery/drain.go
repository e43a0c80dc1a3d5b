package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// Drain delivers the contents of cfg.SpoolDir, which no running monitor may use, to the server
// of cfg, until it is empty, ctx is done or the server has accepted nothing for a while; the
// rest stays on disk. It calls progress about once a second.
func Drain(ctx context.Context, cfg client.Config, progress func(Stats)) (Stats, error) {
	if cfg.SpoolDir == "" || cfg.SpoolDir == client.InMemory {
		return Stats{}, errors.New("influx: drain: SpoolDir is not set: want the folder of a spool")
	}
	if len(cfg.Also) > 0 {
		return Stats{}, errors.New("influx: drain: the configuration has several destinations; want that of one, as Config.Destination returns it")
	}
	s, err := New(cfg, "drain")
	if err != nil {
		return Stats{}, err
	}
	if s.unacked != nil {
		return Stats{}, errors.New("influx: drain: the URL does not name a server: want http or https")
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
	_ = o.finish() // what remains is reported below
	st := s.Stats()
	if st.Queued > 0 {
		return st, fmt.Errorf("influx: drain: %d points are still in %s: %s", st.Queued, cfg.SpoolDir, st.LastError)
	}
	return st, nil
}
