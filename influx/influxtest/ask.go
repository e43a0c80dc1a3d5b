package influxtest

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipfsmon/ipfsmon/influx/client"
)

// StoreAt returns the configuration for a store of storetest.
func StoreAt(c interface {
	URL() string
	Login() (user, file string)
}) client.Config {
	user, file := c.Login()
	return client.Config{URL: c.URL(), Username: user, PasswordFile: file, Gzip: "on"} // as with a remote server
}

// Ask runs a statement and returns its rows as lines of CSV.
func Ask(t *testing.T, cfg client.Config, statement string, flux bool) string {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rows, err := Rows(t, c, statement, flux)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return rows
}

// Rows returns the rows of the answer to a statement as lines of CSV, and the query's error.
func Rows(t *testing.T, c *client.Client, statement string, flux bool) (string, error) {
	t.Helper()
	var b strings.Builder
	rows := csvRows{w: csv.NewWriter(&b)}
	err := c.Query(t.Context(), statement, flux, &rows)
	return b.String(), err
}

// csvRows is an Output that collects CSV lines, each starting with the name and tags of its
// series.
type csvRows struct {
	w     *csv.Writer
	fixed []string
}

func (c *csvRows) Series(name string, labels []client.Label, columns []string) error {
	c.fixed = nil
	var header []string
	if name != "" {
		header, c.fixed = append(header, "measurement"), append(c.fixed, name)
	}
	for _, l := range labels {
		header, c.fixed = append(header, l.Key), append(c.fixed, l.Value)
	}
	return c.w.Write(append(header, columns...))
}

func (c *csvRows) Row(values []any) error {
	row := slices.Clone(c.fixed)
	for _, v := range values {
		if v == nil {
			v = ""
		}
		row = append(row, fmt.Sprint(v))
	}
	return c.w.Write(row)
}

func (c *csvRows) Close() error {
	c.w.Flush()
	return c.w.Error()
}
