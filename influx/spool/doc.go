// Package spool keeps batches of lines until they are delivered: in memory
// while that is enough, on disk so that they outlive the process.
//
// In: batches (Put). Out: the same batches, some joined, in two lanes (Next),
// until they are acknowledged (Ack). The format on disk and the contract are in
// docs/durability.md.
//
// Promised: what Put took is on disk within SyncEvery, or SyncBytes, unless it
// was acknowledged before; it is returned again after a crash until it is
// acknowledged; damage on disk costs the damaged frames only, and no changed
// byte is ever returned; what is lost undelivered is counted, as dropped
// (the bounds) or damaged. A disk that fails turns it into a queue in memory until
// the disk works again. Nothing here panics because of what is on disk.
// Not promised: that a batch is returned only once, or in order.
package spool
