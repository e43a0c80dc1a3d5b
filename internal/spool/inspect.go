package spool

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// SegmentInfo describes the contents of one segment.
type SegmentInfo struct {
	Name    string
	Bytes   int64
	Frames  []FrameInfo
	Holes   int   // ranges of bytes that are not a frame
	Lost    int64 // their bytes
	Damaged int   // frames whose payload is not what was written; found only with verify
}

// FrameInfo is one batch on disk.
type FrameInfo struct {
	Number    uint64
	Offset    int64
	Kind      byte
	Points    int
	Bytes     int
	Since     time.Time
	Delivered bool
	Damaged   bool
}

// Inspect reads a spool without changing it and without its lock, so the result for a spool in
// use may be slightly outdated. With verify it reads every byte, else headers only. It calls
// data, which may be nil, with each frame whose payload it read.
func Inspect(dir string, verify bool, data func(FrameInfo, []byte) error) ([]SegmentInfo, error) {
	s := &Spool{cfg: Config{Dir: dir, fs: osFS{}}}
	entries, err := s.cfg.fs.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	delivered := ranges{}
	if f, err := s.cfg.fs.Open(s.path(cursorName)); err == nil {
		b := make([]byte, 64+16*maxSpans)
		n, _ := f.ReadAt(b, 0) // an unreadable cursor is ignored
		f.Close()
		if _, d, ok := decodeCursor(b[:n]); ok {
			delivered = d
		}
	}
	var out []SegmentInfo
	for _, e := range entries {
		n, ok := segmentNumber(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		g, refs, holes, err := s.openSegment(n)
		if err != nil {
			return out, fmt.Errorf("spool: %w", err)
		}
		info := SegmentInfo{Name: filepath.Base(g.path), Bytes: g.size, Holes: len(holes)}
		for _, h := range holes {
			info.Lost += h.to - h.from
		}
		f, err := s.cfg.fs.Open(g.path)
		if err != nil {
			return out, fmt.Errorf("spool: %w", err)
		}
		for _, r := range refs {
			frame := FrameInfo{Number: r.seq, Offset: r.off, Kind: r.kind, Points: int(r.points), Bytes: int(r.length),
				Since: time.Unix(0, r.since), Delivered: delivered.has(r.seq)}
			if verify {
				payload, e := readFrame(f, info.Name, r)
				if isCorrupt(e) {
					frame.Damaged, e = true, nil
					info.Damaged++
				} else if e == nil && data != nil {
					e = data(frame, payload)
				}
				if e != nil {
					f.Close()
					return out, e
				}
			}
			info.Frames = append(info.Frames, frame)
		}
		f.Close()
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b SegmentInfo) int { return cmp.Compare(first(a), first(b)) })
	return out, nil
}

func first(s SegmentInfo) uint64 {
	if len(s.Frames) == 0 {
		return 0
	}
	return s.Frames[0].Number
}
