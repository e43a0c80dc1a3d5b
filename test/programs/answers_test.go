//go:build programs || all

package programs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestAnswerCutShort: InfluxDB 1.6.7 with a limit of rows, behind a proxy that removes the
// request for chunks, truncates answers; query and export report that.
func TestAnswerCutShort(t *testing.T) {
	const limit = 10
	address, authorization := harness.StartInfluxDB16(t, "http max-row-limit = "+strconv.Itoa(limit))
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("of-the-test"), 0o600))
	post := func(path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", authorization)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		said, err := io.ReadAll(res.Body) // InfluxDB ends a query whose client does not read
		require.NoError(t, err)
		require.Less(t, res.StatusCode, 300, "%s: %s", path, said)
		require.NotContains(t, string(said), "error", path)
	}
	post("/query?"+url.Values{"q": {"CREATE DATABASE ipfsmon WITH NAME history"}}.Encode(), "")
	var lines strings.Builder
	for i := range 10 * limit {
		lines.WriteString("wants,type=" + strconv.Itoa(i%2*5) + " priority=" + strconv.Itoa(i) + "i " + strconv.Itoa(1_700_000_000_000_000_000+i) + "\n")
	}
	for i := range 2 * limit {
		lines.WriteString("single,n=" + strconv.Itoa(i) + " v=1i 1700000000000000000\n")
	}
	post("/write?db=ipfsmon", lines.String())

	to, err := url.Parse(address)
	require.NoError(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		q := r.Out.URL.Query()
		q.Del("chunked")
		r.Out.URL.RawQuery = q.Encode()
	}})
	defer proxy.Close()
	f := func(server, want string, args ...string) {
		t.Helper()
		args = append([]string{args[0], "--url", server, "--username", "admin", "--password-file", password}, args[1:]...)
		code, out, said := harness.Apart(t, harness.Environ(t.TempDir()), args...)
		if want == "" {
			require.Zero(t, code, said)
			require.GreaterOrEqual(t, strings.Count(out, "\n"), 2*limit)
			return
		}
		require.Equal(t, 1, code, said)
		require.Contains(t, said, want)
	}
	f(address, "", "query", "--format", "csv", "SELECT priority FROM wants")
	f(address, "", "query", "--format", "csv", "SELECT priority FROM wants GROUP BY type")
	f(address, "", "query", "--format", "csv", "SELECT v FROM single GROUP BY n")
	f(address, "", "export", "--kind", "history")
	f(proxy.URL, "truncated", "query", "--format", "csv", "SELECT priority FROM wants")
	f(proxy.URL, "truncated", "query", "--format", "csv", "SELECT priority FROM wants GROUP BY type")
	f(proxy.URL, "truncated", "query", "--format", "csv", "SELECT v FROM single GROUP BY n") // between two series, without a mark
	f(proxy.URL, "truncated", "export", "--kind", "history")
}
