//go:build race

package influx

// raceEnabled makes the longest loops shorter: the detector slows them tenfold.
const raceEnabled = true
