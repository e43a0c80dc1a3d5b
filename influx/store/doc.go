// Package store is the embedded InfluxDB 1.8.10, whole: HTTP, InfluxQL and Flux.
//
// In: a folder and an address on this machine. Out: a server (Serve), run and
// watched over as a child process (Supervise), and the way to find or open the
// one of a data folder (OpenStore) and to log in (Login). Promised: the files
// are private; nobody reads or writes without a password, which is in one of
// them; it opens again after a kill -9 with all that it had answered for; a
// child does not outlive its parent. It is a package of its own because it is
// linked into ipfsmon alone: a Go plugin cannot hold all of InfluxDB's assembly.
package store
