package listen

import (
	"net/http"
	"time"
)

// Client returns a client for requests to servers of ipfsmon and to servers on
// this machine. It ignores HTTP_PROXY, because a proxy could read the token, and
// follows no redirects. The timeout includes reading the answer; 0 means none.
func Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: nil, IdleConnTimeout: time.Minute},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
