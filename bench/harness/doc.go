// Package harness is what the programs in bench share: medians with their noise,
// gates, what a process used, and a second process of the same program.
package harness
