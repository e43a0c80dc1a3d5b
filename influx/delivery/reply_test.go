package delivery

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/influxtest"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// The body counts, whatever the status: one line for each known answer of a server.
func TestReply(t *testing.T) {
	type want struct {
		done, missing, line, suspects bool
		partial                       bool
		refused                       int
	}
	f := func(status int, body string, w want) {
		t.Helper()
		r := readReply(status, http.Header{}, []byte(body))
		n, partial := r.partial(100)
		got := want{r.done(), r.missing(), r.refusesLine(), r.suspects(), partial, n}
		if partial { // asked first
			got.line, got.suspects = false, false
		}
		if got != w {
			t.Errorf("%d %s: %+v, want %+v", status, body, got, w)
		}
	}
	f(204, ``, want{done: true})
	f(200, ``, want{done: true})
	f(200, `{"status":"ok"}`, want{done: true})
	f(200, `<!DOCTYPE html><title>Sign in</title>`, want{})
	f(200, `{"error":"timeout"}`, want{})
	f(200, `{"error":"partial write: points beyond retention policy dropped=3"}`, want{partial: true, refused: 3})
	f(200, `{"error":"partial write of line protocol occurred","data":[{"original_line":"x","line_number":1,"error_message":"no"}]}`, want{partial: true, refused: 1})

	f(400, `{"error":"partial write: field type conflict: ... dropped=7"}`, want{partial: true, refused: 7})
	f(422, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=2"}`, want{partial: true, refused: 2})
	f(500, `{"code":"internal error","message":"unexpected error writing points to database: partial write: points beyond retention policy dropped=1"}`, want{partial: true, refused: 1})
	f(503, `{"error":"partial write: dropped=101"}`, want{partial: true, refused: 100})
	f(500, `{"error":"partial write"}`, want{suspects: true}) // of a cluster: nobody knows what is stored
	f(400, `{"error":"partial write"}`, want{partial: true, refused: -1})
	f(400, `{"error":"partial write: unable to parse 'x': missing fields\nunable to parse 'y': missing fields dropped=0"}`, want{partial: true, refused: 2})
	f(400, `{"error":"partial write: dropped=0"}`, want{partial: true})
	long := strings.Repeat(`unable to parse 'x': missing fields\n`, 90)
	f(400, `{"error":"partial write: `+long+`dropped=0"}`, want{partial: true, refused: 90})
	f(400, `{"error":"partial write of line protocol occurred","data":[{"original_line":"a","line_number":3,"error_message":"m"},{"original_line":"b","line_number":9,"error_message":"m"}]}`, want{partial: true, refused: 2})
	f(422, `{"error":"partial write of line protocol occurred","data":["one","two","three"]}`, want{partial: true, refused: 3})
	f(400, `{"error":"partial write of line protocol occurred","data":[]}`, want{partial: true, refused: -1})
	f(400, `{"error":"parsing failed for write_lp endpoint","data":{"original_line":"x","line_number":1,"error_message":"no"}}`, want{line: true})
	f(400, `{"error":"parsing failed for write_lp endpoint","data":[{"original_line":"x","line_number":1,"error_message":"no"}]}`, want{line: true})

	// Of InfluxDB 3: an answer without a text, about the request, or about a limit is about no line.
	f(400, ``, want{suspects: true})
	f(403, ``, want{suspects: true})
	f(401, ``, want{})
	f(400, `{"error":"Authorization header was malformed, the request was not in the form of 'Authorization: <auth-scheme> <token>', supported auth-schemes are Bearer, Token and Basic","data":null}`, want{})
	f(400, `{"error":"invalid character in database name: must be ASCII, containing only letters, numbers, underscores, or hyphens","data":null}`, want{})
	f(422, `{"error":"Adding a new database would exceed limit of 5 databases","data":null}`, want{})
	f(422, `{"error":"partial write of line protocol occurred","data":[{"original_line":"x","line_number":1,"error_message":"Update to schema would exceed number of tables limit of 2000 tables"}]}`, want{partial: true, refused: 1})
	f(200, `{"data":{"line_number":1}}`, want{})
	f(500, `max request size (10485760 bytes) exceeded`, want{suspects: true}) // asked after its size

	f(404, `{"error":"database not found: \"ipfsmon\""}`, want{missing: true})
	f(500, `{"error":"retention policy not found: history"}`, want{missing: true})
	f(500, `{"error":"database not found: \"ipfsmon\""}`, want{missing: true})
	f(400, `{"code":"invalid","message":"bucket \"ipfsmon/history\" not found"}`, want{missing: true})

	f(400, `{"error":"unable to parse 'x': missing fields"}`, want{line: true})
	f(400, `<html><title>400 The plain HTTP request was sent to HTTPS port</title>`, want{})
	f(400, "Client sent an HTTP request to an HTTPS server.\n", want{})
	f(500, `{"error":"engine: x"}`, want{suspects: true})
	f(403, `denied by a rule`, want{suspects: true})
	f(401, `{"error":"authorization failed"}`, want{})
	f(429, `{"error":"partial write"}`, want{})
	f(503, `{"error":"timeout"}`, want{})
	f(502, `<html>`, want{})
}

// A server's text is shown without terminal control sequences.
func TestServersWordsAreCleaned(t *testing.T) {
	r := readReply(500, http.Header{}, []byte("{\"error\":\"a\\u001b]0;x\\u0007b\"}"))
	if strings.ContainsAny(r.err().Error(), "\x1b\x07") || !strings.Contains(r.err().Error(), "]0;x") {
		t.Errorf("%q", r.err().Error())
	}
}

// R32: a partial write, whatever its status and form: the lines that were
// refused are counted, kept where they are known, and nothing else is rejected
// or held up.
func TestFaultR32PartialAnswers(t *testing.T) {
	list := func(lines []string, bad ...int) string {
		var items []string
		for i, l := range lines {
			if _, n := bad2(l, bad...); n > 0 {
				items = append(items, fmt.Sprintf(`{"original_line":%q,"line_number":%d,"error_message":"invalid"}`, strings.TrimSpace(l), i+1))
			}
		}
		return `{"error":"partial write of line protocol occurred","data":[` + strings.Join(items, ",") + `]}`
	}
	dropped := func(lines []string, bad ...int) string {
		n := 0
		for _, l := range lines {
			_, is := bad2(l, bad...)
			n += is
		}
		return fmt.Sprintf(`{"error":"partial write: points beyond retention policy dropped=%d"}`, n)
	}
	for _, status := range []int{200, 400, 422, 500} {
		for name, answer := range map[string]func([]string, ...int) string{"dropped": dropped, "list": list} {
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				t.Parallel()
				refused := []int{3, 333, 777}
				s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
					if good, n := bad(lines, refused...); n > 0 {
						return status, answer(lines, refused...), good
					}
					return 204, "", lines
				})
				cfg := s.Destination()
				cfg.SpoolDir, cfg.BatchSize, cfg.FlushInterval = t.TempDir(), 1000, "1m"
				f := startFlow(t, cfg)
				f.publish(influxtest.Numbered(0, 1000))
				st := f.until("settled", 2*time.Minute, func(st Stats) bool { return st.Stored+st.Rejected == 1000 })
				f.stop()
				if st.Rejected != 3 || s.Lines() != 997 || st.Dropped != 0 || name == "dropped" && st.Expired != 3 {
					t.Errorf("%d lines, %+v", s.Lines(), st)
				}
				if name == "list" && s.Requests != 1 {
					t.Errorf("%d requests, though the server listed the lines", s.Requests)
				}
				got, err := os.ReadFile(filepath.Join(cfg.SpoolDir, rejectedName))
				if err != nil || strings.Count(string(got), "cid=") != 3 {
					t.Errorf("%v, rejected lines:\n%s", err, got)
				}
			})
		}
	}
}

// bad2 is bad for one line.
func bad2(line string, n ...int) ([]string, int) { return bad([]string{line}, n...) }

// R33: a line that the server never accepts, with an answer that may be about the server
// itself: newer points do not wait for it, it is found, and after ten answers that refuse it
// while others are stored it is rejected: counted, logged, and kept in the file.
func TestFaultR33NeverTaken(t *testing.T) {
	for _, status := range []int{500, 403, 409} {
		for _, disk := range []bool{true, false} {
			t.Run(fmt.Sprint(status, " disk=", disk), func(t *testing.T) {
				t.Parallel()
				const poison = 123
				s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
					if _, n := bad(lines, poison); n > 0 {
						return status, `{"error":"engine: its own fault"}`, nil
					}
					return 204, "", lines
				})
				var log logtest.Buffer
				cfg := s.Destination()
				cfg.BatchSize, cfg.Log = 500, slog.New(slog.NewTextHandler(&log, nil))
				if disk {
					cfg.SpoolDir = t.TempDir()
				}
				f := startFlow(t, cfg)
				f.publish(influxtest.Numbered(0, 500))
				n := 500
				deadline := time.Now().Add(2 * time.Minute)
				for f.sink.Stats().Rejected == 0 {
					if time.Now().After(deadline) {
						t.Fatalf("not rejected: %+v", f.sink.Stats())
					}
					f.publish(influxtest.Numbered(n, n+10))
					n += 10
					// All but the first batch, which has the line, though that is not settled.
					f.until("newer points are stored", 2*time.Minute, func(st Stats) bool { return st.Events == uint64(n) && st.Stored >= uint64(n-500) })
				}
				st := f.until("all is settled", 2*time.Minute, func(st Stats) bool { return st.Queued == 0 && st.Stored+st.Rejected == uint64(n) })
				f.stop()
				if st.Rejected != 1 || st.Dropped != 0 || s.Lines() != n-1 || st.Stored != uint64(n-1) {
					t.Errorf("%d lines of %d, %+v", s.Lines(), n, st)
				}
				if !strings.Contains(log.String(), "the server rejected points") {
					t.Errorf("no line of the log:\n%s", log.String())
				}
				if disk {
					got, err := os.ReadFile(filepath.Join(cfg.SpoolDir, rejectedName))
					if err != nil || !strings.Contains(string(got), influxtest.CID(poison).String()) || !strings.Contains(string(got), "its own fault") {
						t.Errorf("%v, rejected lines:\n%s", err, got)
					}
				}
			})
		}
	}
}

// R33: a server that accepts nothing for a while causes no rejects, whatever it answers.
func TestFaultR33NothingIsTaken(t *testing.T) {
	for _, status := range []int{500, 403, 409, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			down := 15
			s := influxtest.NewFaulty(t, func(_ int, _ *http.Request, lines []string) (int, string, []string) {
				mu.Lock()
				defer mu.Unlock()
				if down--; down >= 0 {
					return status, "0", nil
				}
				return 204, "", lines
			})
			cfg := s.Destination()
			cfg.BatchSize = 50
			f := startFlow(t, cfg)
			for i := range 20 {
				f.publish(influxtest.Numbered(i*50, i*50+50))
			}
			st := f.until("stored", 2*time.Minute, func(st Stats) bool { return st.Stored+st.Rejected+st.Dropped == 1000 })
			f.stop()
			if st.Stored != 1000 || s.Lines() != 1000 {
				t.Errorf("%d lines, %+v", s.Lines(), st)
			}
		})
	}
}

// sumOf adds up the points of the log's lines with a text.
func sumOf(log, text string) (sum int) {
	n := regexp.MustCompile(`points=(\d+)`)
	for line := range strings.Lines(log) {
		if m := n.FindStringSubmatch(line); m != nil && strings.Contains(line, text) {
			p, _ := strconv.Atoi(m[1]) // digits
			sum += p
		}
	}
	return sum
}
