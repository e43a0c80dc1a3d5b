package origin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxProblems is the most lines of a list that one error names.
const maxProblems = 5

// readList reads a list of gateways. A list with a line that is wrong is
// wrong as a whole: half a list would quietly count gateways as people.
func readList(path string) (map[peer.ID]struct{}, os.FileInfo, error) {
	b, info, err := readFile(path, MaxList)
	if err != nil {
		return nil, nil, err
	}
	list, err := parseList(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, info, nil
}

// parseList reads peer IDs, one per line, in base58 or as CIDs.
func parseList(b []byte) (map[peer.ID]struct{}, error) {
	list := make(map[peer.ID]struct{})
	var errs []error
	n, wrong := 0, 0
	for line := range bytes.Lines(b) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		p, err := peer.Decode(string(line))
		if err != nil {
			if wrong++; wrong <= maxProblems {
				errs = append(errs, fmt.Errorf("line %d: %.64q is no peer ID: %w", n, line, err))
			}
			continue
		}
		list[p] = struct{}{}
	}
	if wrong > maxProblems {
		errs = append(errs, fmt.Errorf("and %d lines more", wrong-maxProblems))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("want one peer ID per line and comments after #: %w", errors.Join(errs...))
	}
	return list, nil
}

// watch reads the list again when its file changed, until Close. seen is how
// the file looked when it was read last.
func (l *Lookup) watch(seen os.FileInfo) {
	tick := time.NewTicker(l.cfg.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			seen = l.poll(seen)
		}
	}
}

// poll reads the list if its file is not as it was seen, and returns how it
// looks now. What is wrong with the file is logged once for each change.
func (l *Lookup) poll(seen os.FileInfo) os.FileInfo {
	path := l.cfg.GatewayList
	now, err := os.Stat(path)
	if err != nil {
		if seen != nil {
			l.cfg.Logger.Warn("gateway list cannot be read, the old one stays", "err", err, "gateways", l.Gateways())
		}
		return nil
	}
	if sameFile(seen, now) {
		return seen
	}
	list, read, err := readList(path)
	if err != nil {
		l.cfg.Logger.Warn("gateway list is wrong, the old one stays", "err", err, "gateways", l.Gateways())
		return now
	}
	l.gateways.Store(&list)
	l.cfg.Logger.Info("gateway list read", "path", path, "gateways", len(list))
	select {
	case l.changed <- struct{}{}:
	default: // the one before has not been taken yet
	}
	// Stated before the bytes were read: what is written meanwhile is a change.
	return read
}

// sameFile compares what a change of the content changes.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}
