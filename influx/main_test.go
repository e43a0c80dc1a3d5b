package influx

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/influx/store/storetest"
)

func TestMain(m *testing.M) {
	storetest.Main()
	if os.Getenv(sinkEnv) != "" {
		sinkMain()
		return
	}
	goleak.VerifyTestMain(m)
}

// storeAt is the configuration for a store of storetest.
func storeAt(c interface {
	URL() string
	Login() (user, file string)
}) Config {
	user, file := c.Login()
	return Config{URL: c.URL(), Username: user, PasswordFile: file, Gzip: "on"} // as to a server elsewhere
}

// ask runs a statement and returns its rows as lines of CSV.
func ask(t *testing.T, cfg Config, statement string, flux bool) string {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b writerBuffer
	out, err := NewOutput("csv", &b)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Query(t.Context(), statement, flux, out); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return string(b)
}

type writerBuffer []byte

func (b *writerBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
