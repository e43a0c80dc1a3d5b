// Package query asks questions about what is stored, and writes the answers.
//
// In: a question by its name (Named), or a statement in InfluxQL or Flux, and a
// client.Client. Out: rows, as a table, CSV, JSON or a plot (NewOutput,
// NewPlot), or as line protocol for another server (Export).
//
// Promised: memory does not grow with the answer, but for a Fold, which is
// bounded; no text of a peer moves the cursor of a terminal; what is only to
// read does not write (ReadsOnly).
package query
