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

// reply is a server's answer to a post of lines. InfluxDB 1.x, 2.x, 3 and the proxies before
// them report the same condition with different statuses, so the message counts more than the
// status.
type reply struct {
	status int
	text   string        // the server's message
	said   string        // the message as shown: without control characters, at most maxText bytes
	failed bool          // the body is JSON that names an error
	after  time.Duration // Retry-After, 0: none
	listed []refusedLine // the refused lines, where the server lists them
	page   bool          // the body is HTML or the like: a proxy before the server sent it
	data   bool          // the body names lines that were refused, in whatever form
}

// refusedLine is one of the lines that InfluxDB 3 lists as refused.
type refusedLine struct {
	number int // from 1; 0: the server does not say
	text   string
}

// readReply parses an answer.
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
		r.data = len(list) > 0 || len(v.Data) > 0 && v.Data[0] == '{'
		for _, item := range list {
			var line struct {
				Original string `json:"original_line"`
				Number   int    `json:"line_number"`
				Message  string `json:"error_message"`
			}
			_ = json.Unmarshal(item, &line) // in another form it still means a refused line
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

// done reports whether the server has stored the whole post: 204, or another success whose body
// has no error and is not the page of a proxy or a login.
func (r reply) done() bool {
	if r.status < 200 || r.status >= 300 {
		return false
	}
	return r.status == http.StatusNoContent || !r.page && !r.failed && !r.data && !r.speaksOfPart()
}

func (r reply) speaksOfPart() bool { return strings.Contains(strings.ToLower(r.text), "partial write") }

var droppedN = regexp.MustCompile(`dropped=(\d+)`)

// partial reports whether the server has stored some of the points, and how many it refused: -1
// if it does not say. It must be sure: with any status other than those of refused lines, the
// message counts only if it has a number.
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

// refusesLine reports whether the server refused the whole post because of a line in it. An
// answer without a text, or about the request, its credentials or a limit of the server (the
// number of databases or tables of InfluxDB 3 Core), is not about a line.
func (r reply) refusesLine() bool {
	return !r.page && !r.missing() && !r.misdirected() && strings.TrimSpace(r.text) != "" && (r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity)
}

// notLines matches what InfluxDB 3 says in answers 400 and 422 that are about no line.
var notLines = regexp.MustCompile(`(?i)authorization header was malformed|database name|db name|would exceed (the )?(limit|number) of|content-encoding|serde error|missing query param`)

// misdirected reports whether the answer is for whoever operates the server or this program:
// what was refused may be accepted once that was corrected.
func (r reply) misdirected() bool {
	return (r.status == http.StatusBadRequest || r.status == http.StatusUnprocessableEntity) && len(r.listed) == 0 && notLines.MatchString(r.text)
}

// tooLarge reports whether the server accepts no post of that size; versions of InfluxDB 3 say
// so with 500.
func (r reply) tooLarge() bool {
	return r.status == http.StatusRequestEntityTooLarge || r.status >= 400 && strings.Contains(r.text, "max request size")
}

// gone matches the messages for a missing database, retention policy or bucket, which come with
// 404 or 500.
var gone = regexp.MustCompile(`(?i)\b(database|retention policy|bucket)\b[^\n]{0,100}\bnot found`)

// missing reports whether the database, retention policy or bucket does not exist.
func (r reply) missing() bool {
	return r.status == http.StatusNotFound || r.status >= 400 && gone.MatchString(r.text)
}

// overload reports whether the answer is about the server's state and says nothing about the
// points.
func (r reply) overload() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// suspects reports whether the answer may be about the points without saying so, which is the
// case if it repeats while other posts are stored.
func (r reply) suspects() bool {
	return r.status >= 400 && !r.refusesLine() && !r.misdirected() && !r.overload() && !r.missing() && !r.page && r.status != http.StatusUnauthorized
}

// err returns the answer as an error.
func (r reply) err() error {
	said := r.said
	if r.page {
		said = "the answer is not InfluxDB's; is the URL right? " + said[:min(len(said), 200)]
	}
	return fmt.Errorf("%d %s: %s", r.status, http.StatusText(r.status), said)
}
