// Package query runs questions against the stored points and writes the answers.
//
// In: a question by name (Named) or a statement in InfluxQL or Flux, and a client.Client. Out:
// rows, as a table, CSV, JSON or a plot (NewOutput, NewPlot), or as line protocol for another
// server (Export).
//
// Promised: memory does not grow with the answer, except for a Fold, which is bounded; no text
// of a peer moves the cursor of a terminal; a statement that should only read cannot write
// (ReadsOnly).
package query
