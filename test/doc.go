// Package test holds the tests that run the real program: nodes, the embedded
// InfluxDB and the command line as their users run them, each in a process of
// its own, on loopback. Those behind the build tag "all" need other programs
// or a second compilation of everything; make test-all runs them.
package test
