package listen

import (
	"net/http"
	"time"
)

// Client makes a client for requests to servers of ipfsmon and to those of this
// machine. It goes straight to them, whatever HTTP_PROXY says, as a proxy would
// read the token, and follows no redirects: the answer is what the server that
// was asked says. A request ends after the timeout, its answer included; 0 is none.
func Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: nil, IdleConnTimeout: time.Minute},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
