// Package archive keeps what monitors saw in Parquet files, for years and for any
// program that reads Parquet.
//
// In: events, and the gaps between them, of one monitor after the other. Out: a
// folder for each table, partitioned as Hive does it
// (wants/monitor=de1/date=2026-11-20/hour=14/*.parquet), a catalogue of the
// columns, and the same events again. Promised: a file has its final name when it
// is whole and on disk, and a part of its checksum is in that name; a file whose
// checksum differs is named and left out; memory is bounded by the rows of one row
// group, whatever the length of the trace; what was made of one source once is not
// made of it a second time, also after a crash. Every text of an event that comes
// out has passed event.Clean, whoever wrote the archive. Not promised: an order of
// rows between files; merging yields one file an hour, in the order of time.
//
// The columns are the fields of the row types in rows.go, and their tags: files,
// catalogue and documentation all come from these.
package archive
