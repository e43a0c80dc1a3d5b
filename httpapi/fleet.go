package httpapi

import "net/http"

func (s *Server) fleet(*http.Request) (any, error) {
	if s.deps.Fleet == nil {
		return nil, &Error{http.StatusServiceUnavailable, "there is no fleet: this program is not ipfsmon fleet collect"}
	}
	return s.deps.Fleet(), nil
}
