// Package size estimates how large a network is from what several monitors see
// of it, how much the monitors see in common, and what is popular.
//
// In: for each monitor the peers that it is connected to at one time (Sample),
// counts of requests by which monitors saw them, and requests. Out: the field's
// two estimates as its size estimator makes them, the same with intervals of
// confidence of 95 %, for all peers and by agent and protocol (Estimate); exact
// overlaps of peers (Overlap) and estimated ones of CIDs (CIDs); coverage of
// requests (CoverageOf); popularity of CIDs (Popularity).
//
// Promised: overlaps of peers and popularity are exact. Every estimate has its
// interval, and the docstring says what it assumes. Not promised: that the
// assumptions hold in the network; Dependence is the sign that they do not.
// Names that peers choose are capped: the most frequent are reported, the others
// are counted.
package size
