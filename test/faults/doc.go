// Package faults has the rows of docs/durability.md that need whole processes,
// real servers and networks. Build tag faults; make faults.
package faults
