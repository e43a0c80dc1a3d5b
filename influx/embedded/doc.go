// Package embedded is the embedded InfluxDB 1.8.10 with HTTP, InfluxQL and Flux.
//
// In: a folder and an address on this machine. Out: a server (Serve), also as a supervised
// child process (Supervise), and functions that find or open the store of a data folder
// (OpenStore) and its credentials (Login). Promised: the files are private; nobody reads or
// writes without a password, which is in one of them; after a kill -9 it opens with everything
// that it had acknowledged; a child does not outlive its parent. It is a separate package
// because only the program ipfsmon links it: a Go plugin cannot hold all of InfluxDB's
// assembly.
package embedded
