// Package repository checks rules about the whole tree: which way imports point,
// that modules are kubo's, that documents name tests and settings that exist.
// It reads files and runs go list; it starts no node.
package repository
