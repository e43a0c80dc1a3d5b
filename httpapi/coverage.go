package httpapi

// Coverage counts the connected peers of one family of agents by what they asked
// of this node: how far its figures can be taken for the network's.
type Coverage struct {
	Family    string `json:"family"`
	Connected int    `json:"connected"`
	Asked     int    `json:"asked"`     // sent a want since they connected
	Broadcast int    `json:"broadcast"` // of these, sent one as peers ask all their peers
}

// coverage returns that of all families; never nil.
func (s *Server) coverage() []Coverage {
	if s.deps.Coverage == nil {
		return []Coverage{}
	}
	return append([]Coverage{}, s.deps.Coverage()...)
}
