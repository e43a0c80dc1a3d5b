package listen

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// A request to a server of ours goes to no proxy and to no other server, and
// ends.
func TestClientGoesStraight(t *testing.T) {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/silent":
			<-ended
		default:
			t.Errorf("asked for %s", r.URL)
		}
	}))
	defer server.Close()
	defer close(ended)
	c := Client(0)
	defer c.CloseIdleConnections()
	// HTTP_PROXY never counts for loopback, so the transport is looked at.
	if c.Transport.(*http.Transport).Proxy != nil {
		t.Error("it goes through a proxy")
	}
	res, err := c.Get(server.URL + "/moved")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a redirect: %s", res.Status)
	}
	c = Client(50 * time.Millisecond)
	defer c.CloseIdleConnections()
	if res, err := c.Get(server.URL + "/silent"); !errors.Is(err, os.ErrDeadlineExceeded) && !os.IsTimeout(err) {
		t.Errorf("a silent server: %v, %v", res, err)
	}
}
