package httpapi

import (
	"net/http"

	"github.com/julienschmidt/httprouter"
)

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="ipfsmon"`)
	answer(w, envelope{Status: http.StatusUnauthorized, Error: "no valid token: want the header \"Authorization: Bearer\" with a token of HTTPServerConfig.TokenFiles"})
}

// withToken runs h only for requests with a valid token.
func (s *Server) withToken(h httprouter.Handle) httprouter.Handle {
	return func(w http.ResponseWriter, q *http.Request, p httprouter.Params) {
		switch {
		case !s.gate.HasTokens():
			answer(w, envelope{Status: http.StatusForbidden, Error: "this request needs a token, and none is configured: want HTTPServerConfig.TokenFiles"})
		case !s.gate.Shows(q):
			unauthorized(w)
		default:
			h(w, q, p)
		}
	}
}
