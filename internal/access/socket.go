package access

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// bearer is the prefix of the WebSocket sub-protocol with a token in base64url
// without padding. A web page cannot set headers of a WebSocket request, and
// tokens in URLs end up in logs.
const bearer = "ipfsmon.bearer."

// socketToken returns the token among the sub-protocols of a WebSocket request.
func socketToken(q *http.Request) (token string, ok bool) {
	for _, line := range q.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if encoded, found := strings.CutPrefix(strings.TrimSpace(p), bearer); found {
				b, err := base64.RawURLEncoding.DecodeString(encoded)
				return string(b), err == nil
			}
		}
	}
	return "", false
}
