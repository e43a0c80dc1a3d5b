//go:build race

package lineproto

// raceEnabled makes the longest loops shorter: the detector slows them tenfold.
const raceEnabled = true
