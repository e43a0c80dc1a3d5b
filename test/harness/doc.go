// Package harness has the helpers that tests of the program share: processes, nodes, servers,
// peers, and waits for their output. It is for test packages two folders below the root
// (test/e2e), which run in their own folder.
package harness
