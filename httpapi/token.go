package httpapi

import (
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"github.com/ipfsmon/ipfsmon/internal/access"
)

// needsToken is the key of a connection's context for whether it came in by a
// listener that wants a token for everything.
type needsToken struct{}

// needs says whether a request came by such a listener.
func needs(q *http.Request) bool {
	n, _ := q.Context().Value(needsToken{}).(bool)
	return n
}

// showsSocketToken is showsToken for WebSockets, as browsers open them.
func (s *Server) showsSocketToken(q *http.Request) bool {
	token, ok := access.SocketToken(q)
	return ok && s.gate.Allowed(token)
}

// showsToken says whether a request shows a good token. Only the header counts:
// what is in an address ends in logs, and a cookie would be sent by a browser
// on behalf of any page.
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
	answer(w, envelope{Status: http.StatusUnauthorized, Error: "no good token: send the header \"Authorization: Bearer\" with a token of HTTPServerConfig.TokenFiles"})
}

// withToken keeps what acts for those who show a token.
func (s *Server) withToken(h httprouter.Handle) httprouter.Handle {
	return func(w http.ResponseWriter, q *http.Request, p httprouter.Params) {
		switch {
		case !s.gate.HasTokens():
			answer(w, envelope{Status: http.StatusForbidden, Error: "needs a token, and there is none: set HTTPServerConfig.TokenFiles"})
		case !s.showsToken(q):
			unauthorized(w)
		default:
			h(w, q, p)
		}
	}
}
