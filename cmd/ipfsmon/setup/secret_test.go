package setup

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/influx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRandomIsMadeOnce(t *testing.T) {
	dir := folder(t.TempDir())
	first, err := dir.random(NodeToken)
	require.NoError(t, err)
	require.Regexp(t, `^[A-Z2-7]{52}$`, first)
	again, err := dir.random(NodeToken)
	require.NoError(t, err)
	require.Equal(t, first, again)
	other, err := dir.random(GrafanaToken)
	require.NoError(t, err)
	require.NotEqual(t, first, other)

	info, err := os.Stat(dir.path(NodeToken))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(fileMode), info.Mode())
	b, err := os.ReadFile(dir.path(NodeToken))
	require.NoError(t, err)
	require.Equal(t, first, string(b), "telegraf uses the whole file, so it must not end in a line break")

	// A secret file that was cut short before it had a content is written again.
	require.NoError(t, os.Chmod(dir.path(NodeToken), 0o600))
	require.NoError(t, os.WriteFile(dir.path(NodeToken), nil, 0o600))
	made, err := dir.random(NodeToken)
	require.NoError(t, err)
	require.Len(t, made, 52)

	entries, err := os.ReadDir(filepath.Dir(dir.path(NodeToken)))
	require.NoError(t, err)
	require.Len(t, entries, 1, "a temporary file remains")
}

func TestSecretsThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "node"), nil, 0o600)) // in place of the folder
	_, err := folder(dir).random(NodeToken)
	require.ErrorContains(t, err, NodeToken)
}

func TestUserLine(t *testing.T) {
	line := userLine("ipfsmon", "secret")
	require.NotEqual(t, line, userLine("ipfsmon", "secret"), "two lines with the same password are equal: no salt")
	require.NotContains(t, line, "secret")
	require.True(t, checkUser(line, "ipfsmon", "secret"))
	for _, wrong := range []string{"", "ipfsmon", "ipfsmon:secret", "ipfsmon:{SSHA}", "ipfsmon:{SSHA}!", line[:len(line)-4]} {
		require.False(t, checkUser(wrong, "ipfsmon", "secret"), wrong)
	}
	require.False(t, checkUser(line, "ipfsmon", "Secret"))
	require.False(t, checkUser(line, "other", "secret"))
}

func TestUsersFollowThePassword(t *testing.T) {
	dir := folder(t.TempDir())
	s := &setup{dir: dir}
	require.NoError(t, s.secrets())
	users, err := dir.read(WebUsers)
	require.NoError(t, err)
	require.NoError(t, s.secrets())
	same, err := dir.read(WebUsers)
	require.NoError(t, err)
	require.Equal(t, users, same)

	require.NoError(t, os.Remove(dir.path(WebPassword))) // as a user does to get a new one
	require.NoError(t, s.secrets())
	password, err := dir.read(WebPassword)
	require.NoError(t, err)
	changed, err := dir.read(WebUsers)
	require.NoError(t, err)
	require.False(t, checkUser(users, webUser, password))
	require.True(t, checkUser(changed, webUser, password))
}

// TestBrokerConfig: RabbitMQ's file follows the password, and stays as it is otherwise.
func TestBrokerConfig(t *testing.T) {
	dir := folder(t.TempDir())
	require.ErrorIs(t, dir.broker(), os.ErrNotExist)
	password, err := dir.random(BrokerPassword)
	require.NoError(t, err)
	require.NoError(t, dir.broker())
	before, err := os.Stat(dir.path(BrokerConfig))
	require.NoError(t, err)
	require.NoError(t, dir.broker())
	after, err := os.Stat(dir.path(BrokerConfig))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	config, err := dir.read(BrokerConfig)
	require.NoError(t, err)
	require.Equal(t, "default_user = ipfsmon\ndefault_pass = "+password+"\nloopback_users = none", config)
}

func TestShow(t *testing.T) {
	dir := t.TempDir()
	secret, err := folder(dir).random(GrafanaPassword)
	require.NoError(t, err)
	shown, err := Show(dir, GrafanaPassword)
	require.NoError(t, err)
	require.Equal(t, secret, shown)
	_, err = Show(dir, NodeToken)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Show(dir, "../../etc/passwd")
	require.ErrorContains(t, err, "want one of "+AdminToken)
}

// TestNoServer: no secret is made without a server, and the error names the server's
// address.
func TestNoServer(t *testing.T) {
	dir := t.TempDir()
	err := Setup(context.Background(), Config{Dir: dir, InfluxDB: influx.Config{URL: "http://127.0.0.1:9"}, Wait: 300 * time.Millisecond, Out: io.Discard})
	require.ErrorContains(t, err, "http://127.0.0.1:9 does not answer")
	for _, name := range Files {
		_, err := Show(dir, name)
		require.ErrorIs(t, err, os.ErrNotExist, name) // nothing is made before the server answers
	}
}
