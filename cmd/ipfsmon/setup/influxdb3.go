package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/internal/access"
)

// AdminToken3 is the file of an InfluxDB 3's first token, which may do everything. It is not
// AdminToken, so that a stack can go back to its InfluxDB 2.
const AdminToken3 = "admin/influxdb3-token"

// The names of the tokens in InfluxDB 3. Core has no tokens with fewer rights.
const (
	nodeName3    = "ipfsmon-node"
	grafanaName3 = "ipfsmon-grafana"
)

// influxdb3 sets up an InfluxDB 3: its administrator's token if it is new, the databases and
// tables, and a token each for the node and for Grafana.
func (s *setup) influxdb3(ctx context.Context) error {
	if err := s.secrets(); err != nil {
		return err
	}
	if err := s.operator3(ctx); err != nil {
		return err
	}
	own := s.InfluxDB
	own.Version, own.Token, own.TokenFile, own.Org, own.Database, own.Bucket = "3", s.token, "", "", s.InfluxDB.Bucket, ""
	if err := own.Validate(); err != nil {
		return err
	}
	if err := client.Setup(ctx, own); err != nil {
		return fmt.Errorf("databases: %w", err)
	}
	for file, name := range map[string]string{NodeToken: nodeName3, GrafanaToken: grafanaName3} {
		if err := s.ensure3(ctx, file, name); err != nil {
			return fmt.Errorf("token %q: %w", name, err)
		}
	}
	return nil
}

// operator3 finds the token that may make the rest, and makes it on a new server. A server shows
// it only once: it is on disk before anything else is done.
func (s *setup) operator3(ctx context.Context) error {
	c := s.InfluxDB
	if c.Token != "" || c.TokenFile != "" {
		s.token = c.Token
		if c.TokenFile != "" {
			var err error
			if s.token, err = access.ReadSecret(c.TokenFile); err != nil {
				return err
			}
		}
		if ok, err := s.accepts3(ctx, s.token); err != nil || !ok {
			return errors.Join(err, fmt.Errorf("InfluxDB at %s does not accept the operator's token", c.URL))
		}
		return nil
	}
	token, err := s.dir.read(AdminToken3)
	switch {
	case err == nil:
		ok, err := s.accepts3(ctx, token)
		if err != nil || ok {
			s.token = token
			return err
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	status, made, err := s.token3(ctx, "admin", nil)
	if err != nil {
		return err
	}
	if status == http.StatusConflict {
		return fmt.Errorf("InfluxDB at %s is in use and its administrator's token is not in %s: want a file with one (IPFSMON_INFLUXDB_TOKEN_FILE), or bring back the volume with the secrets that it was set up with",
			c.URL, s.dir.path(AdminToken3))
	}
	s.token = made
	if err := s.dir.write(AdminToken3, made); err != nil {
		return err
	}
	fmt.Fprintln(s.Out, "InfluxDB 3 is set up: it has an administrator's token")
	return nil
}

// ensure3 makes a token, unless the one in the file is valid. The server shows a token only when
// it creates it, so one whose file is missing is of no use and is deleted.
func (s *setup) ensure3(ctx context.Context, file, name string) error {
	token, err := s.dir.read(file)
	if err == nil {
		ok, err := s.accepts3(ctx, token)
		if err != nil || ok {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	status, _, err := s.request3(ctx, http.MethodDelete, "/api/v3/configure/token?"+url.Values{"token_name": {name}}.Encode(), s.token, nil)
	if err != nil || status != http.StatusOK && status != http.StatusNotFound {
		return errors.Join(err, fmt.Errorf("delete the one before: status %d", status))
	}
	status, token, err = s.token3(ctx, "named_admin", map[string]any{"token_name": name, "expiry_secs": nil})
	if err != nil {
		return err
	}
	if status == http.StatusConflict {
		return errors.New("the server has one of this name and did not delete it")
	}
	if err := s.dir.write(file, token); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "made the token %q\n", name)
	return nil
}

// accepts3 reports whether the server knows a token.
func (s *setup) accepts3(ctx context.Context, token string) (bool, error) {
	status, _, err := s.request3(ctx, http.MethodGet, "/api/v3/configure/database?format=json", token, nil)
	switch {
	case err != nil:
		return false, fmt.Errorf("ask InfluxDB about a token: %w", err)
	case status == http.StatusOK:
		return true, nil
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return false, nil
	}
	return false, fmt.Errorf("ask InfluxDB about a token: status %d", status)
}

// token3 creates a token of a kind; status 409 is no error.
func (s *setup) token3(ctx context.Context, kind string, body any) (status int, token string, err error) {
	status, answer, err := s.request3(ctx, http.MethodPost, "/api/v3/configure/token/"+kind, s.token, body)
	if err != nil || status == http.StatusConflict {
		return status, "", err
	}
	var v struct{ Token string }
	if status != http.StatusCreated || json.Unmarshal(answer, &v) != nil || v.Token == "" {
		return status, "", fmt.Errorf("create a token: status %d: %s", status, client.PlainText(client.ErrorText(answer)))
	}
	return status, v.Token, nil
}

func (s *setup) request3(ctx context.Context, method, path, token string, body any) (status int, answer []byte, err error) {
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.InfluxDB.URL, "/")+path, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, answer, err
}
