// Package schema is the only list of what is stored: the measurements, their tags and fields,
// how long they are kept, and the rollups of history.
//
// In: nothing. Out: All, from which line protocol (package lineproto), the set-up of servers
// (package client), questions (package query), dashboards (package grafana), documentation
// (Doc) and tests derive.
//
// Promised: the list is complete and never changes while a program runs; the number of series
// is bounded (Measurement.Series), because a value that a peer can choose is a field, or a tag
// with a limit.
package schema
