package delivery

import (
	"time"

	"github.com/ipfsmon/ipfsmon/influx/rollup"
)

// openSums begins the sums of minutes and hours, or continues those on disk, if a destination
// wants them. If the disk fails they are in memory.
func (s *Sink) openSums() {
	keep := s.set.KeepsRollups
	for _, o := range s.to {
		keep = keep || o.set.KeepsRollups
	}
	if !keep {
		return
	}
	now := time.Now()
	sums := rollup.New(now)
	if s.set.SpoolDir != "" {
		kept, damaged, err := rollup.Open(s.set.SpoolDir, now)
		switch {
		case err != nil:
			s.set.Logger.Warn("influx: the sums of the current minute and hour cannot be kept on disk: a restart begins them again", "err", err)
		default:
			sums = kept
		}
		if damaged > 0 {
			s.set.Logger.Warn("influx: the end of the file of sums is damaged: what was counted in its last seconds is missing in their minute and hour", "bytes", damaged, "folder", s.set.SpoolDir)
		}
	}
	s.sums.Store(sums)
	s.enc.SetRollups(sums)
	s.batcher.sums = sums
	s.batcher.unsaved = func(err error) {
		s.lines.unsummed.Warn(s.set.Logger, "influx: the sums of minutes and hours cannot be saved and are not written until they are", "err", err)
	}
}

func (s *Sink) closeSums() {
	if s.unacked != nil && s.unacked.over.Load() {
		return // a write hangs, and holds the sums
	}
	if sums := s.sums.Load(); sums != nil {
		if err := sums.Close(time.Now()); err != nil {
			s.set.Logger.Warn("influx: the sums of the current minute and hour are not saved", "err", err)
		}
	}
}
