package httpapi

import (
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"github.com/ipfsmon/ipfsmon/internal/access"
)

// needsToken is the context key that says whether a connection's listener
// requires a token for every request.
type needsToken struct{}

// needs reports whether the request came through such a listener.
func needs(q *http.Request) bool {
	n, _ := q.Context().Value(needsToken{}).(bool)
	return n
}

// showsSocketToken is showsToken for WebSockets that a browser opens.
func (s *Server) showsSocketToken(q *http.Request) bool {
	token, ok := access.SocketToken(q)
	return ok && s.gate.Allowed(token)
}

// showsToken reports whether a request has a valid token. It looks at the header
// only: tokens in URLs end up in logs, and a browser would send a cookie for
// requests of any page.
func (s *Server) showsToken(q *http.Request) bool {
	all := q.Header.Values("Authorization")
	if len(all) != 1 {
		return false
	}
	scheme, token, ok := strings.Cut(all[0], " ")
	return ok && strings.EqualFold(scheme, "Bearer") && s.gate.Allowed(strings.TrimSpace(token))
}

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
		case !s.showsToken(q):
			unauthorized(w)
		default:
			h(w, q, p)
		}
	}
}
