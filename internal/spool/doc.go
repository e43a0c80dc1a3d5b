// Package spool keeps batches until they are delivered: in memory, and on disk so that they
// outlive the process. A batch is any bytes; its points are what it counts for.
//
// In: batches (Put). Out: the same batches, some joined, in two lanes (Next),
// until they are acknowledged (Ack). The format on disk and the contract are in
// docs/durability.md.
//
// Promised: a batch given to Put is on disk within SyncEvery, or after 1 MiB, unless it was
// acknowledged before; it is returned again after a crash until it is acknowledged; damage on
// disk loses only the damaged frames, and no changed byte is ever returned; a batch lost
// undelivered is counted, as dropped (the limits) or damaged. While the disk fails, the spool
// is a queue in memory. No contents of the disk make it panic. Not promised: that a batch is
// returned only once, or in order.
package spool
