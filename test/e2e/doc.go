// Package e2e runs the real program: nodes, the embedded InfluxDB and the command
// line as their users run them, each in its own process, on loopback. These tests need only Go,
// and are part of go test ./...
package e2e
