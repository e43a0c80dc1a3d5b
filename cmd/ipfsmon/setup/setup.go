// Package setup makes what the programs of docker-compose.yml need before they
// start: secrets, and an InfluxDB 2 with an organisation, buckets and tokens, or an
// InfluxDB 3 with databases and tokens.
//
// In: the address of the InfluxDB and a folder, which has a sub-folder for each
// program, so that each can be given its own and no other. Out: files with
// secrets, and a server that is ready. Promised: secrets are made here, of the
// system's random source, and are in files only; what is there and works stays
// as it is, so that Setup may run any number of times, also after one that was
// cut short at any point; the node's token can only write points and Grafana's
// can only read them, except in InfluxDB 3 Core, whose tokens may do everything. Not promised: that a secret which was thrown away comes
// back; the program that had it gets a new one.
package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/domain"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// The files, below the folder of a Config.
const (
	AdminToken       = "admin/influxdb-token"    // may do everything in InfluxDB
	AdminPassword    = "admin/influxdb-password" // of its user "admin"
	WebPassword      = "admin/web-password"      // of nginx's user "ipfsmon"
	NodeToken        = "node/influxdb_token"     // writes points; telegraf refuses names with a hyphen
	GrafanaToken     = "grafana/influxdb-token"  // reads points
	GrafanaPassword  = "grafana/admin-password"  // of Grafana's user "admin"
	WebUsers         = "nginx/htpasswd"          // nginx's form of WebPassword
	DatabasePassword = "probe/postgres-password" // of the probe's PostgreSQL
	ProbeToken       = "probe/token"             // which the probe's servers ask for
	BrokerPassword   = "node/amqp_password"      // of RabbitMQ's user "ipfsmon"
	BrokerConfig     = "broker/rabbitmq.conf"    // RabbitMQ's form of BrokerPassword
)

// Files are all of them.
var Files = []string{AdminToken, AdminPassword, WebPassword, NodeToken, GrafanaToken, GrafanaPassword, WebUsers, DatabasePassword, ProbeToken, BrokerPassword, BrokerConfig}

// Users of what has a login.
const (
	adminUser  = "admin"
	webUser    = "ipfsmon"
	brokerUser = "ipfsmon"
)

// requestTime bounds each request. A new server writes its first things to disk
// while it is set up, which on a slow one takes seconds.
const requestTime = time.Minute

// Config says what to make, and where.
type Config struct {
	// Dir is the folder of the secrets.
	Dir string
	// InfluxDB is the server: URL, Org, Bucket, Database and HistoryRetention
	// are as for the node. Token and TokenFile are those of an operator
	// of a server that is in use already; with neither, the server must be new
	// or have been set up from Dir.
	InfluxDB influx.Config
	// RemoveOldRollups removes the tasks that computed minutes and hours for earlier versions of
	// the monitor. Without it the log reports them.
	RemoveOldRollups bool
	// Wait is how long the server may take to answer.
	Wait time.Duration
	// Out gets the progress messages.
	Out io.Writer
}

// Setup makes what is missing. The error says which step failed; running it
// again continues from there.
func Setup(ctx context.Context, cfg Config) error {
	if cfg.InfluxDB.Org == "" {
		cfg.InfluxDB.Org = client.DefaultDatabase
	}
	if cfg.InfluxDB.Bucket == "" {
		cfg.InfluxDB.Bucket = client.DefaultDatabase
	}
	if cfg.InfluxDB.URL == "" {
		cfg.InfluxDB.URL = client.DefaultURL
	}
	// The server is reached without a token: there may be none yet.
	reach := influx.Config{URL: cfg.InfluxDB.URL, Proxy: cfg.InfluxDB.Proxy}
	server, err := client.New(reach)
	if err != nil {
		return err
	}
	defer server.Close()
	requests := *server.HTTP()
	requests.Timeout = requestTime
	s := &setup{Config: cfg, dir: folder(cfg.Dir), http: &requests}
	if file := cfg.InfluxDB.TokenFile; file != "" {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("the operator's token: %w", err)
		}
	}
	// Nothing is made before the server answers: a URL with a mistake leaves
	// nothing behind.
	three, err := s.reach(ctx, reach)
	if err != nil {
		return err
	}
	if three {
		return s.influxdb3(ctx)
	}
	if err := s.secrets(); err != nil {
		return err
	}
	if err := s.operator(); err != nil {
		return err
	}
	own := cfg.InfluxDB
	own.Version, own.Token, own.TokenFile = "2", s.token, ""
	if own.Log == nil {
		own.Log = slog.Default()
	}
	if err := own.Validate(); err != nil {
		return err
	}
	s.client = influxdb2.NewClientWithOptions(cfg.InfluxDB.URL, s.token, influxdb2.DefaultOptions().SetHTTPClient(s.http))
	defer s.client.Close()
	if err := s.onboard(ctx); err != nil {
		return err
	}
	if cfg.RemoveOldRollups {
		if err := s.removeOldRollups(ctx, own); err != nil {
			return err
		}
	}
	// The buckets and their names in InfluxQL, as the node would
	// make them if its token were allowed to.
	if err := client.Setup(ctx, own); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	return s.tokens(ctx)
}

// removeOldRollups removes what earlier versions had the server compute.
func (s *setup) removeOldRollups(ctx context.Context, cfg influx.Config) error {
	server, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	old, err := server.OldRollups(ctx)
	if err == nil {
		err = server.RemoveOldRollups(ctx, old)
	}
	if err != nil {
		return fmt.Errorf("remove the tasks of earlier versions: %w", err)
	}
	fmt.Fprintf(s.Out, "%d tasks of earlier versions removed\n", len(old.Names))
	return nil
}

type setup struct {
	Config
	dir    folder
	token  string // of an operator
	own    bool   // whether it is ours, in AdminToken
	http   *http.Client
	client influxdb2.Client
}

// secrets makes all those that need no server.
func (s *setup) secrets() error {
	for _, name := range []string{AdminPassword, WebPassword, GrafanaPassword, DatabasePassword, ProbeToken, BrokerPassword} {
		if _, err := s.dir.random(name); err != nil {
			return err
		}
	}
	if err := s.dir.broker(); err != nil {
		return err
	}
	password, err := s.dir.read(WebPassword)
	if err != nil {
		return err
	}
	if users, err := s.dir.read(WebUsers); err == nil && checkUser(users, webUser, password) {
		return nil
	}
	return s.dir.write(WebUsers, userLine(webUser, password))
}

// operator finds the token that may make the rest. Ours is on disk before the
// server hears of it: whoever is cut short between the two knows it still.
func (s *setup) operator() (err error) {
	c := s.InfluxDB
	if c.Token == "" && c.TokenFile == "" {
		s.own = true
		s.token, err = s.dir.random(AdminToken)
		return err
	}
	c.Version = "2"
	if err := c.Validate(); err != nil {
		return fmt.Errorf("the operator's token: %w", err)
	}
	s.token = c.Token
	if c.TokenFile != "" {
		s.token, err = access.ReadSecret(c.TokenFile)
	}
	return err
}

// Between two tries to reach the server.
const (
	firstTry = 250 * time.Millisecond
	lastTry  = 5 * time.Second
)

// reach waits until the server is well, and reports whether it is an InfluxDB 3. It ends at
// once where waiting is no use: another kind of server answers.
func (s *setup) reach(ctx context.Context, server influx.Config) (three bool, err error) {
	ask, err := client.New(server)
	if err != nil {
		return false, err
	}
	defer ask.Close()
	anyone := influxdb2.NewClientWithOptions(s.InfluxDB.URL, "", influxdb2.DefaultOptions().SetHTTPClient(s.http)) // its health is no secret
	defer anyone.Close()
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	wait := firstTry
	for told := false; ; wait = min(wait*2, lastTry) {
		version, err := ask.Version(ctx)
		if moved := (*client.RedirectError)(nil); errors.As(err, &moved) {
			return false, fmt.Errorf("InfluxDB at %s: %w", s.InfluxDB.URL, moved)
		}
		if client.IsVersion3(version) {
			return true, nil
		}
		if strings.HasPrefix(version, "1.") {
			return false, fmt.Errorf("set InfluxDB at %s up: it is InfluxDB %s; want 2.x or 3.x: 1.x needs no setup, the node makes its database", s.InfluxDB.URL, version)
		}
		if err == nil && version == "" && ask.Guarded() != "" {
			return false, fmt.Errorf("set InfluxDB at %s up: it answers 401 to /ping; if it is InfluxDB 3, start it with --disable-authz ping,health", s.InfluxDB.URL)
		}
		if err == nil {
			var health *domain.HealthCheck
			if health, err = anyone.Health(ctx); err == nil && health.Status == domain.HealthCheckStatusPass {
				return false, nil
			}
			if err == nil {
				err = fmt.Errorf("its health is %q", health.Status)
			}
		}
		if !told {
			fmt.Fprintf(s.Out, "waiting for InfluxDB at %s\n", s.InfluxDB.URL)
			told = true
		}
		if backoff.Sleep(ctx, wait) != nil {
			return false, fmt.Errorf("InfluxDB at %s does not answer: %w", s.InfluxDB.URL, err)
		}
	}
}

// onboard makes a new server ours. One that is in use must take our token.
func (s *setup) onboard(ctx context.Context) error {
	if s.own {
		state, err := s.client.APIClient().GetSetup(ctx, &domain.GetSetupParams{})
		if err != nil {
			return fmt.Errorf("ask InfluxDB whether it is new: %w", err)
		}
		if state.Allowed != nil && *state.Allowed {
			password, err := s.dir.read(AdminPassword)
			if err != nil {
				return err
			}
			// The first bucket is a part of it; influx.Setup sees to the rest.
			retain, err := units.ParseDuration(cmp.Or(s.InfluxDB.HistoryRetention, client.DefaultHistoryRetention.String()))
			if err != nil {
				return fmt.Errorf("HistoryRetention: %w", err)
			}
			bucket := s.InfluxDB.Bucket + "/" + schema.History.String()
			if _, err := s.client.SetupWithToken(ctx, adminUser, password, s.InfluxDB.Org, bucket, int(retain.Hours()), s.token); err != nil {
				return fmt.Errorf("set InfluxDB up: %w", err)
			}
			fmt.Fprintf(s.Out, "InfluxDB is set up: organisation %s, user %s\n", s.InfluxDB.Org, adminUser)
		}
	}
	ok, err := s.accepts(ctx, s.token)
	if err != nil {
		return err
	}
	if !ok && s.own {
		return fmt.Errorf("InfluxDB at %s is in use and does not know the token in %s: want one of its operator tokens (IPFSMON_INFLUXDB_TOKEN_FILE), or bring back the volume with the secrets that it was set up with",
			s.InfluxDB.URL, s.dir.path(AdminToken))
	}
	if !ok {
		return fmt.Errorf("InfluxDB at %s does not accept the operator's token", s.InfluxDB.URL)
	}
	return nil
}

// accepts reports whether the server knows a token.
func (s *setup) accepts(ctx context.Context, token string) (bool, error) {
	// Any token may list the buckets that it has a right to, be it none.
	url := strings.TrimSuffix(s.InfluxDB.URL, "/") + "/api/v2/buckets?limit=1"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Token "+token)
	res, err := s.http.Do(req)
	if err != nil {
		return false, fmt.Errorf("ask InfluxDB about a token: %w", err)
	}
	res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	}
	return false, fmt.Errorf("ask InfluxDB about a token: %s", res.Status)
}

// tokens makes those of the node and of Grafana.
func (s *setup) tokens(ctx context.Context) error {
	org, err := s.client.OrganizationsAPI().FindOrganizationByName(ctx, s.InfluxDB.Org)
	if err != nil {
		return fmt.Errorf("find organisation %q: %w", s.InfluxDB.Org, err)
	}
	var buckets []string
	for k := range schema.Kinds {
		name := s.InfluxDB.Bucket + "/" + k.String()
		found, err := s.client.APIClient().GetBuckets(ctx, &domain.GetBucketsParams{OrgID: org.Id, Name: &name})
		if err != nil {
			return fmt.Errorf("find bucket %q: %w", name, err)
		}
		if found.Buckets == nil || len(*found.Buckets) != 1 || (*found.Buckets)[0].Id == nil {
			return fmt.Errorf("find bucket %q: it is not there", name)
		}
		buckets = append(buckets, *(*found.Buckets)[0].Id)
	}
	all, err := s.client.AuthorizationsAPI().FindAuthorizationsByOrgID(ctx, *org.Id)
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	for _, t := range []struct {
		file, description string
		action            domain.PermissionAction
	}{
		{NodeToken, s.InfluxDB.Bucket + ": the node writes points", domain.PermissionActionWrite},
		{GrafanaToken, s.InfluxDB.Bucket + ": Grafana reads points", domain.PermissionActionRead},
	} {
		if err := s.ensure(ctx, *org.Id, t.file, t.description, t.action, buckets, *all); err != nil {
			return fmt.Errorf("token %q: %w", t.description, err)
		}
	}
	return nil
}

// ensure makes a token with an action's right to the buckets, unless the one in
// the file is it. A server shows a token only when it creates it (2.9 no longer
// knows it itself), so one whose file is missing is of no use and goes.
func (s *setup) ensure(ctx context.Context, org, file, description string, action domain.PermissionAction, buckets []string, all []domain.Authorization) error {
	var permissions []domain.Permission
	for _, id := range buckets {
		permissions = append(permissions, domain.Permission{Action: action, Resource: domain.Resource{Type: domain.ResourceTypeBuckets, Id: &id, OrgID: &org}})
	}
	var same []domain.Authorization
	for _, a := range all {
		if a.Description != nil && *a.Description == description {
			same = append(same, a)
		}
	}
	if token, err := s.dir.read(file); err == nil && len(same) == 1 && active(same[0], permissions) {
		ok, err := s.accepts(ctx, token)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, a := range same {
		if err := s.client.AuthorizationsAPI().DeleteAuthorizationWithID(ctx, *a.Id); err != nil {
			return fmt.Errorf("delete the one before: %w", err)
		}
	}
	made, err := s.client.AuthorizationsAPI().CreateAuthorization(ctx, &domain.Authorization{
		AuthorizationUpdateRequest: domain.AuthorizationUpdateRequest{Description: &description},
		OrgID:                      &org,
		Permissions:                &permissions,
	})
	if err != nil {
		return err
	}
	if made.Token == nil || *made.Token == "" {
		return errors.New("the server created the token and did not return it")
	}
	if err := s.dir.write(file, *made.Token); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "made the token %q\n", description)
	return nil
}

// active reports whether an authorization is on and has exactly these rights.
func active(a domain.Authorization, want []domain.Permission) bool {
	if a.Status != nil && *a.Status != domain.AuthorizationUpdateRequestStatusActive || a.Permissions == nil || len(*a.Permissions) != len(want) {
		return false
	}
	for _, p := range *a.Permissions {
		if !slices.ContainsFunc(want, func(w domain.Permission) bool {
			return p.Action == w.Action && p.Resource.Type == w.Resource.Type && p.Resource.Id != nil && *p.Resource.Id == *w.Resource.Id
		}) {
			return false
		}
	}
	return true
}
