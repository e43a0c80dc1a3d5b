package introspect

// MakeSnapshot builds a state, encodes it without a limit of time, and returns the frame.
func (s *Server) MakeSnapshot() ([]byte, error) {
	s.snap.Lock()
	defer s.snap.Unlock()
	frame, _, err := s.makeSnapshot()
	if err == nil {
		s.lastSize = len(frame)
	}
	return frame, err
}
