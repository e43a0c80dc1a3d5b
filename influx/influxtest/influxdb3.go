package influxtest

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// The limits of InfluxDB 3 Core.
const (
	coreDatabases = 5
	coreTables    = 2000
	coreColumns   = 500
	coreFiles     = 432 // that a query reads
	fileSpan      = 10 * time.Minute
	maxBody3      = 10 << 20 // unpacked
)

// InfluxDB3 stands in for InfluxDB 3 Core or Enterprise, as of 3.10 and 3.11, of which no build
// can be had here. It was made from the server's documents and source, not from a server: it
// refuses what they refuse, with their statuses and texts, and real ones may differ. Points are
// kept by a real InfluxDB 1.8, if there is one behind it, which also answers InfluxQL, after
// InfluxQL's own parser has read it and what InfluxDB 3 lacks was refused. Set the fields before
// the first request.
type InfluxDB3 struct {
	Version, Build string // default 3.11.2, Core
	Auth           bool   // wants a token, also for /ping and /health
	PingOpen       bool   // not for these two: --disable-authz=ping,health
	Writer         string // a token of Enterprise that may only write and query
	Flush          time.Duration
	Rule           func(r *http.Request, lines []string) (status int, answer string, keep []string) // faults; nil: none
	Behind         *Behind3
	SQL            map[string]string // answers to SQL, in CSV, by the database, a colon and the statement

	mu        sync.Mutex
	databases map[string]*database3
	tokens    map[string]string // of administrators, by name
	asked     map[string]int    // requests by method and path
}

// Behind3 is the InfluxDB 1.8 that keeps the points.
type Behind3 struct{ URL, Username, Password string }

type database3 struct {
	Retention time.Duration // 0: for ever
	Written   bool          // made by a first point, not beforehand
	tables    map[string]*table3
}

type table3 struct {
	columns map[string]string // types, "tag" for a tag
	files   map[int64]bool    // begins of the spans in which there are points
}

// In3 reports whether a test is to run on the stand-in for InfluxDB 3: those that
// TestInfluxDB3Faults runs.
func In3(t testing.TB) bool { return strings.HasPrefix(t.Name(), "TestInfluxDB3Faults/") }

// New3 returns a new server without databases, whose log is flushed every 10 ms.
func New3() *InfluxDB3 {
	return &InfluxDB3{Version: "3.11.2", Build: "Core", Flush: 10 * time.Millisecond,
		databases: map[string]*database3{}, tokens: map[string]string{}, asked: map[string]int{}}
}

// Made3 returns a new server with the databases of the default name.
func Made3() *InfluxDB3 {
	s := New3()
	s.databases["ipfsmon/history"] = &database3{Retention: 7 * 24 * time.Hour, tables: map[string]*table3{}}
	s.databases["ipfsmon/totals"] = &database3{tables: map[string]*table3{}}
	return s
}

// Start serves it until the test ends.
func (s *InfluxDB3) Start(t testing.TB) *httptest.Server {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server
}

// Database reports how long a database keeps points, and whether a first point made it; there is
// false if it does not exist.
func (s *InfluxDB3) Database(name string) (retention time.Duration, written, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.databases[name]; d != nil {
		return d.Retention, d.Written, true
	}
	return 0, false, false
}

// Drop removes a database.
func (s *InfluxDB3) Drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.databases, name)
}

// Make makes a database beforehand.
func (s *InfluxDB3) Make(name string, retention time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases[name] = &database3{Retention: retention, tables: map[string]*table3{}}
}

// Tables returns the columns of a database's tables with their types, "tag" for a tag.
func (s *InfluxDB3) Tables(name string) map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[string]string{}
	if d := s.databases[name]; d != nil {
		for n, t := range d.tables {
			out[n] = t.columns
		}
	}
	return out
}

// Admin makes an administrator's token and returns it.
func (s *InfluxDB3) Admin(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[name] = "apiv3_" + rand.Text()
	return s.tokens[name]
}

// Token returns an administrator's token by its name; "" if there is none.
func (s *InfluxDB3) Token(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[name]
}

// Asked returns how many requests there were by method and path.
func (s *InfluxDB3) Asked() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for k, n := range s.asked {
		out[k] = n
	}
	return out
}

// What a token may do.
const (
	nothing = iota
	writeAndQuery
	everything
)

// may returns what a request may do; bad: its header is malformed, which is a 400.
func (s *InfluxDB3) may(r *http.Request) (right int, bad bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayLocked(r)
}

func (s *InfluxDB3) mayLocked(r *http.Request) (right int, bad bool) {
	if !s.Auth {
		return everything, false
	}
	token := r.URL.Query().Get("p")
	if header := r.Header.Get("Authorization"); header != "" && token == "" {
		scheme, rest, ok := strings.Cut(header, " ")
		if !ok || strings.Contains(rest, " ") || !slices.Contains([]string{"Bearer", "Token", "Basic"}, scheme) {
			return nothing, true
		}
		if token = rest; scheme == "Basic" {
			text, err := base64.StdEncoding.DecodeString(rest)
			user, password, ok := strings.Cut(string(text), ":")
			if err != nil || !ok || strings.Contains(user, ":") {
				return nothing, true
			}
			token = password
		}
	}
	for _, t := range s.tokens {
		if t == token {
			return everything, false
		}
	}
	if s.Writer != "" && token == s.Writer {
		return writeAndQuery, false
	}
	return nothing, false
}

func (s *InfluxDB3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.Method+" "+r.URL.Path]++
	s.mu.Unlock()
	right, bad := s.may(r)
	path := r.Method + " " + r.URL.Path
	open := s.PingOpen && (path == "GET /ping" || path == "GET /health") || path == "POST /api/v3/configure/token/admin"
	switch {
	case bad:
		problem(w, http.StatusBadRequest, "Authorization header was malformed, the request was not in the form of 'Authorization: <auth-scheme> <token>', supported auth-schemes are Bearer, Token and Basic")
		return
	case right == nothing && !open:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case right == writeAndQuery && strings.Contains(r.URL.Path, "/configure/"):
		w.WriteHeader(http.StatusForbidden)
		return
	}
	switch path {
	case "GET /ping":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Influxdb-Build", s.Build)
		w.Header().Set("X-Influxdb-Version", s.Version)
		fmt.Fprintf(w, `{"version":%q,"revision":"stand-in","process_id":"of-a-test"}`, s.Version)
	case "GET /health":
		io.WriteString(w, "OK")
	case "POST /write", "POST /api/v2/write", "POST /api/v3/write_lp":
		s.write(w, r)
	case "GET /query", "POST /query":
		s.query(w, r)
	case "POST /api/v3/query_sql":
		s.sql(w, r)
	case "GET /api/v3/configure/database":
		s.listDatabases(w, r)
	case "POST /api/v3/configure/database":
		s.newDatabase(w, r)
	case "POST /api/v3/configure/table":
		s.newTable(w, r)
	case "POST /api/v3/configure/token/admin":
		s.newToken(w, "_admin")
	case "POST /api/v3/configure/token/named_admin":
		var v struct {
			Name string `json:"token_name"`
		}
		if decode3(w, r, &v) {
			s.newToken(w, v.Name)
		}
	case "DELETE /api/v3/configure/token":
		s.mu.Lock()
		defer s.mu.Unlock()
		name := r.URL.Query().Get("token_name")
		if s.tokens[name] == "" {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		if name == "_admin" {
			http.Error(w, "cannot delete operator token", http.StatusMethodNotAllowed)
			return
		}
		delete(s.tokens, name)
	default:
		http.Error(w, "not found", http.StatusNotFound)
	}
}

// problem answers with an error as JSON.
func problem(w http.ResponseWriter, status int, text string) { problemWith(w, status, text, nil) }

func problemWith(w http.ResponseWriter, status int, text string, data any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Error string `json:"error"`
		Data  any    `json:"data"`
	}{text, data})
}

// decode3 reads a body of JSON, and answers if it is none.
func decode3(w http.ResponseWriter, r *http.Request, v any) bool {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		http.Error(w, "unacceptable content-type, expected: application/json", http.StatusUnsupportedMediaType)
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		http.Error(w, "serde json error: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// goodName matches a database with or without a retention policy.
var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)?$`)

func validName(w http.ResponseWriter, name string) bool {
	if len(name) > 64 || !goodName.MatchString(name) {
		problem(w, http.StatusBadRequest, "invalid character in database name: must be ASCII, containing only letters, numbers, underscores, or hyphens")
		return false
	}
	return true
}

func (s *InfluxDB3) listDatabases(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") != "json" {
		http.Error(w, "serde error: missing field `format`", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []map[string]string{{"iox::database": "_internal"}}
	for name := range s.databases {
		rows = append(rows, map[string]string{"iox::database": name})
	}
	_ = json.NewEncoder(w).Encode(rows)
}

func (s *InfluxDB3) newDatabase(w http.ResponseWriter, r *http.Request) {
	var v struct {
		DB        string  `json:"db"`
		Retention *string `json:"retention_period"`
	}
	if !decode3(w, r, &v) || !validName(w, v.DB) {
		return
	}
	var keep time.Duration
	if v.Retention != nil {
		text := *v.Retention
		if days, ok := strings.CutSuffix(text, "d"); ok {
			n, _ := strconv.Atoi(days) // 0 is refused below
			text = fmt.Sprintf("%dh", n*24)
		}
		var err error
		if keep, err = time.ParseDuration(text); err != nil || keep < time.Hour { // 0d would delete everything
			http.Error(w, "serde json error: retention_period "+*v.Retention, http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.databases[v.DB] != nil:
		http.Error(w, "attempted to create a resource that already exists", http.StatusConflict)
	case s.full():
		problem(w, http.StatusUnprocessableEntity, databasesFull)
	default:
		s.databases[v.DB] = &database3{Retention: keep, tables: map[string]*table3{}}
	}
}

var databasesFull = fmt.Sprintf("Adding a new database would exceed limit of %d databases", coreDatabases)

func (s *InfluxDB3) full() bool { return s.Build == "Core" && len(s.databases) >= coreDatabases }

func (s *InfluxDB3) newTable(w http.ResponseWriter, r *http.Request) {
	var v struct {
		DB, Table string
		Tags      []string
		Fields    []struct{ Name, Type string }
	}
	if !decode3(w, r, &v) || !validName(w, v.DB) {
		return
	}
	types := map[string]string{"int64": "integer", "uint64": "unsigned", "float64": "float", "utf8": "string", "bool": "boolean"}
	columns := map[string]string{}
	bad := v.Table == "" || len(v.Tags) == 0
	for _, tag := range v.Tags {
		bad = bad || columns[tag] != "" || tag == "" || tag == "time"
		columns[tag] = "tag"
	}
	for _, f := range v.Fields {
		bad = bad || columns[f.Name] != "" || f.Name == "" || f.Name == "time" || types[f.Type] == ""
		columns[f.Name] = types[f.Type]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.databases[v.DB]
	switch {
	case bad:
		http.Error(w, "invalid table "+v.Table, http.StatusBadRequest)
	case d == nil:
		http.Error(w, "not found", http.StatusNotFound)
	case d.tables[v.Table] != nil:
		http.Error(w, "attempted to create a resource that already exists", http.StatusConflict)
	case s.Build == "Core" && s.tableCount() >= coreTables:
		problem(w, http.StatusUnprocessableEntity, tablesFull)
	case len(columns) >= coreColumns:
		problem(w, http.StatusUnprocessableEntity, columnsFull)
	default:
		d.tables[v.Table] = &table3{columns: columns, files: map[int64]bool{}}
	}
}

var (
	tablesFull  = fmt.Sprintf("Update to schema would exceed number of tables limit of %d tables", coreTables)
	columnsFull = fmt.Sprintf("Update to schema would exceed number of columns per table limit of %d columns", coreColumns)
)

func (s *InfluxDB3) tableCount() (n int) {
	for _, d := range s.databases {
		n += len(d.tables)
	}
	return n
}

func (s *InfluxDB3) newToken(w http.ResponseWriter, name string) {
	s.mu.Lock()
	there := s.tokens[name] != ""
	s.mu.Unlock()
	if there || name == "" {
		http.Error(w, "token name already exists, "+name, http.StatusConflict)
		return
	}
	token := s.Admin(name)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"id": 1, "name": name, "token": token, "hash": "of-a-test", "created_at": "2026-06-17T00:00:00Z", "expiry": nil})
}

// invalidLine is what the server lists of a refused line.
type invalidLine struct {
	Original string `json:"original_line"`
	Number   int    `json:"line_number"`
	Message  string `json:"error_message"`
}

// errorOf returns the error that an answer in the form of InfluxDB 1.x has.
func errorOf(answer string) string {
	var v struct{ Error string }
	if json.Unmarshal([]byte(answer), &v) != nil {
		return answer
	}
	return v.Error
}

// refusedLine3 returns the entry for a line; its fields are in the server's own form, and long
// lines are cut.
func refusedLine3(line string, number int, message string) invalidLine {
	line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `"`, "")
	return invalidLine{line[:min(len(line), 120)], number, message}
}

func (s *InfluxDB3) write(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	name, partial, sync := q.Get("db"), false, true
	precisions := []string{"", "ns", "n", "u", "us", "ms", "s", "m", "h"}
	switch r.URL.Path {
	case "/write":
		if rp := q.Get("rp"); rp != "" && rp != "autogen" && rp != "default" {
			name += "/" + rp
		}
	case "/api/v2/write":
		name = q.Get("bucket")
	default:
		partial, precisions = q.Get("accept_partial") != "false", []string{"", "auto", "nanosecond", "microsecond", "millisecond", "second"}
		sync = q.Get("no_sync") != "true"
		for _, key := range []string{"accept_partial", "no_sync"} {
			if !slices.Contains([]string{"", "true", "false"}, q.Get(key)) {
				http.Error(w, "serde error: provided string was not `true` or `false`", http.StatusBadRequest)
				return
			}
		}
	}
	if !slices.Contains(precisions, q.Get("precision")) {
		http.Error(w, "serde error: unknown variant `"+q.Get("precision")+"`", http.StatusBadRequest)
		return
	}
	if !validName(w, name) {
		return
	}
	body, ok := body3(w, r)
	if !ok {
		return
	}
	lines := strings.SplitAfter(string(body), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		http.Error(w, "write buffer error: line protocol is empty", http.StatusBadRequest)
		return
	}
	numbers := make([]int, len(lines))
	for i := range numbers {
		numbers[i] = i + 1
	}
	var invalid []invalidLine
	if s.Rule != nil {
		status, answer, keep := s.Rule(r, lines)
		if status == 400 && len(keep) > 0 && partial { // in the form of InfluxDB 3
			kept := map[string]bool{}
			for _, l := range keep {
				kept[l] = true
			}
			var goodLines []string
			var goodNumbers []int
			for i, l := range lines {
				if kept[l] {
					goodLines, goodNumbers = append(goodLines, l), append(goodNumbers, i+1)
				} else {
					invalid = append(invalid, refusedLine3(l, i+1, "refused by the test: "+errorOf(answer)))
				}
			}
			lines, numbers = goodLines, goodNumbers
		} else if status != 204 {
			if status == 429 || status == 503 {
				w.Header().Set("Retry-After", answer)
			}
			w.WriteHeader(status)
			io.WriteString(w, answer)
			return
		}
	}
	s.mu.Lock()
	d := s.databases[name]
	if d == nil {
		if right, _ := s.mayLocked(r); right != everything {
			s.mu.Unlock()
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if s.full() {
			s.mu.Unlock()
			problem(w, http.StatusUnprocessableEntity, databasesFull)
			return
		}
		d = &database3{Written: true, tables: map[string]*table3{}}
		s.databases[name] = d
	}
	var good strings.Builder
	limit := false
	for i, l := range lines {
		if why := s.take(d, l); why != "" {
			invalid = append(invalid, refusedLine3(l, numbers[i], why))
			limit = limit || strings.Contains(why, "would exceed")
			continue
		}
		good.WriteString(l)
	}
	s.mu.Unlock()
	if len(invalid) > 0 && !partial {
		problemWith(w, http.StatusBadRequest, "parsing failed for write_lp endpoint", invalid[0])
		return
	}
	if s.Behind != nil && good.Len() > 0 {
		if err := s.Behind.write(r, name, good.String()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if sync && s.Flush > 0 {
		now := time.Now()
		select {
		case <-time.After(now.Truncate(s.Flush).Add(s.Flush).Sub(now)):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case len(invalid) == 0:
		w.WriteHeader(http.StatusNoContent)
	case limit:
		problemWith(w, http.StatusUnprocessableEntity, "partial write of line protocol occurred", invalid)
	default:
		problemWith(w, http.StatusBadRequest, "partial write of line protocol occurred", invalid)
	}
}

// body3 reads a body within the server's limit, packed and unpacked.
func body3(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	large := func() ([]byte, bool) {
		http.Error(w, fmt.Sprintf("max request size (%d bytes) exceeded", maxBody3), http.StatusRequestEntityTooLarge)
		return nil, false
	}
	packed, err := io.ReadAll(io.LimitReader(r.Body, maxBody3+1))
	if err != nil {
		return nil, false // the client is gone
	}
	if len(packed) > maxBody3 {
		return large()
	}
	body := packed
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err == nil {
			body, err = io.ReadAll(io.LimitReader(z, maxBody3+1))
		}
		if err != nil {
			http.Error(w, "error decoding gzip stream: "+err.Error(), http.StatusInternalServerError)
			return nil, false
		}
		if len(body) > maxBody3 {
			return large()
		}
	default:
		http.Error(w, "unacceptable content-encoding: "+r.Header.Get("Content-Encoding"), http.StatusBadRequest)
		return nil, false
	}
	if !utf8.Valid(body) {
		http.Error(w, "body content is not valid utf8", http.StatusInternalServerError)
		return nil, false
	}
	return body, true
}

// take checks a line against the tables and adds what is new to them; it returns why the line is
// refused. The caller holds mu.
func (s *InfluxDB3) take(d *database3, line string) (why string) {
	dec := lineprotocol.NewDecoderWithBytes([]byte(line))
	if !dec.Next() {
		return "could not parse the line"
	}
	name, err := dec.Measurement()
	if err != nil {
		return err.Error()
	}
	t := d.tables[string(name)]
	if t == nil {
		t = &table3{columns: map[string]string{}, files: map[int64]bool{}}
		if s.Build == "Core" && s.tableCount() >= coreTables {
			return tablesFull
		}
	}
	found := map[string]string{}
	column := func(key, kind string) string {
		if found[key] != "" {
			return fmt.Sprintf("invalid line protocol - multiple instances of '%s' field found", key)
		}
		found[key] = kind
		if have := t.columns[key]; have != "" && have != kind {
			return fmt.Sprintf("invalid column type for column '%s', expected iox::column_type::%s, got iox::column_type::%s", key, columnType(have), columnType(kind))
		}
		return ""
	}
	for {
		k, _, err := dec.NextTag()
		if err != nil {
			return err.Error()
		}
		if k == nil {
			break
		}
		if why := column(string(k), "tag"); why != "" {
			return why
		}
	}
	fields := 0
	for {
		k, v, err := dec.NextField()
		if err != nil {
			return err.Error()
		}
		if k == nil {
			break
		}
		fields++
		kind := map[lineprotocol.ValueKind]string{lineprotocol.Int: "integer", lineprotocol.Uint: "unsigned", lineprotocol.Float: "float", lineprotocol.Bool: "boolean", lineprotocol.String: "string"}[v.Kind()]
		if why := column(string(k), kind); why != "" {
			return why
		}
	}
	at, err := dec.Time(lineprotocol.Nanosecond, time.Time{})
	if err != nil {
		return err.Error()
	}
	if fields == 0 {
		return "No fields were provided"
	}
	added := 0
	for k := range found {
		if t.columns[k] == "" {
			added++
		}
	}
	if len(t.columns)+added > coreColumns {
		return columnsFull
	}
	for k, kind := range found {
		t.columns[k] = kind
	}
	t.files[at.UnixNano()/int64(fileSpan)] = true
	d.tables[string(name)] = t
	return ""
}

func columnType(kind string) string {
	if kind == "tag" {
		return kind
	}
	return "field::" + kind
}

// split3 returns the database and the retention policy of InfluxDB 1.x that keep a database.
func split3(name string) (db, rp string, ok bool) {
	db, rp, ok = strings.Cut(name, "/")
	return db, rp, ok && (rp == schema.History.String() || rp == schema.Totals.String())
}
