package delivery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// reply is what a server answered to a post of lines, as far as it matters.
// InfluxDB 1.x, 2.x, 3 and what stands before them say the same things with
// different statuses, so the words count more than the status.
type reply struct {
	status int
	text   string        // the server's words
	said   string        // what is shown of them: without control characters, at most maxText bytes
	failed bool          // the body is JSON that names an error
	after  time.Duration // Retry-After, 0: none
	listed []refusedLine // the refused lines, where the server lists them
	page   bool          // the body is HTML or such: of something that stands before the server
}

// refusedLine is one of the lines that InfluxDB 3 lists as refused.
type refusedLine struct {
	number int // from 1; 0: the server does not say
	text   string
}

// readReply understands an answer.
func readReply(status int, header http.Header, body []byte) reply {
	r := reply{status: status}
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
		r.after = min(time.Duration(min(s, 1<<20))*time.Second, maxRetryAfter)
	}
	r.text = client.ErrorText(body)
	var v struct {
		Error string
		Data  json.RawMessage
	}
	if json.Unmarshal(body, &v) == nil {
		r.failed = v.Error != ""
		var list []json.RawMessage
		if json.Unmarshal(v.Data, &list) != nil {
			list = nil
		}
		for _, item := range list {
			var line struct {
				Original string `json:"original_line"`
				Number   int    `json:"line_number"`
				Message  string `json:"error_message"`
			}
			_ = json.Unmarshal(item, &line) // in another form it is a refused line all the same
			r.listed = append(r.listed, refusedLine{line.Number, line.Original})
			if len(r.listed) == 1 && line.Message != "" {
				r.text += ": " + line.Message
			}
		}
	}
	start := strings.TrimSpace(string(body[:min(len(body), 100)]))
	r.page = strings.HasPrefix(start, "<") || strings.Contains(start, "HTTP request to an HTTPS server")
	r.said = client.PlainText(r.text) + client.Through(header)
	return r
}

// done is whether the server has stored all of the post: 204, or another
// success whose body names no error and is no page of a proxy or a login.
func (r reply) done() bool {
	if r.status < 200 || r.status >= 300 {
		return false
	}
	return r.status == http.StatusNoContent || !r.page && !r.failed && len(r.listed) == 0 && !r.speaksOfPart()
}

func (r reply) speaksOfPart() bool { return strings.Contains(strings.ToLower(r.text), "partial write") }

var droppedN = regexp.MustCompile(`dropped=(\d+)`)

// partial is whether the server has stored a part of the points, and how many
// it has refused: -1 if it does not say. It must be sure: where another status
// than those of refused lines comes with the words, only a number counts.
func (r reply) partial(points int) (refused int, ok bool) {
	n, known := strings.Count(r.text, "unable to parse '"), false
	for _, m := range droppedN.FindAllStringSubmatch(r.text, -1) {
		if d, err := strconv.Atoi(m[1]); err == nil {
			n, known = max(n, d), true
		}
	}
	if !r.speaksOfPart() && (r.status >= 300 || len(r.listed) == 0) {
		return 0, false
	}
	n = max(n, len(r.listed))
	switch {
	case known || n > 0:
		return min(n, points), true
	case r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity:
		return -1, true
	}
	return 0, false
}

// refusesLine is whether the server takes nothing of the post because of what
// is in it.
func (r reply) refusesLine() bool {
	return !r.page && !r.missing() && (r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity)
}

// gone is how servers say that a database, a retention policy or a bucket is
// missing: with 404 or with 500.
var gone = regexp.MustCompile(`(?i)\b(database|retention policy|bucket)\b[^\n]{0,100}\bnot found`)

// missing is whether what the points go into is not there.
func (r reply) missing() bool {
	return r.status == http.StatusNotFound || r.status >= 400 && gone.MatchString(r.text)
}

// overload is whether the answer is about the server's state, so that it says
// nothing of the points.
func (r reply) overload() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// suspects is whether the answer may be about the points, though it does not
// say so: if it comes each time while others are stored.
func (r reply) suspects() bool {
	return r.status >= 400 && !r.refusesLine() && !r.overload() && !r.missing() && !r.page && r.status != http.StatusUnauthorized
}

// err is the answer as an error.
func (r reply) err() error {
	said := r.said
	if r.page {
		said = "the answer is not one of InfluxDB; is the URL right? " + said[:min(len(said), 200)]
	}
	return fmt.Errorf("%d %s: %s", r.status, http.StatusText(r.status), said)
}
