// Package rollup sums history by minutes and hours.
//
// In: for each point of history its series, its time and one number. Out: lines of line protocol for each
// minute and hour that is over, and again for one that got late points, always with all that was
// counted in it.
//
// Promised: counts, sums, means and maxima are those of the points; a median is at most 1/32 off. A
// minute or hour that was written is never written with less: what is counted outlives the process if
// there is a file, and without one nothing is written of minutes and hours that were over before the
// start. Memory is bounded; what is too late for it is counted as late and is not in any sum.
// Not promised: that the current minute and hour are written before they are over.
package rollup
