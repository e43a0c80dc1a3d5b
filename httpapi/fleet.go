package httpapi

import "net/http"

func (s *Server) fleet(*http.Request) (any, error) { return ofFleet(s.deps.Fleet) }

func (s *Server) fleetPast(*http.Request) (any, error) { return ofFleet(s.deps.FleetPast) }

func ofFleet(f func() any) (any, error) {
	if f == nil {
		return nil, &Error{http.StatusServiceUnavailable, "there is no fleet: this program is not ipfsmon fleet collect"}
	}
	return f(), nil
}
