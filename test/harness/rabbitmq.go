package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// RabbitMQ is Debian's RabbitMQ 3.10.8 on loopback, with a folder, node name, ports and epmd
// of its own.
type RabbitMQ struct {
	T       *testing.T
	Address string // amqp://guest:guest@127.0.0.1:port/%2f
	TLS     string // the same as amqps://localhost
	CAFile  string // of the authority that TLS's certificate is from
	Process *Process

	dir  string
	node string
	env  []string
}

// rabbitPrograms is where Debian has the programs themselves, not the wrappers that change user.
const rabbitPrograms = "/usr/lib/rabbitmq/bin/"

// StartRabbitMQ runs a broker until the test's end. config are more lines of its configuration.
func StartRabbitMQ(t *testing.T, config ...string) *RabbitMQ {
	t.Helper()
	_, err := os.Stat(rabbitPrograms + "rabbitmq-server")
	require.NoError(t, err, "RabbitMQ is missing; on Debian: apt-get install --no-install-recommends rabbitmq-server")
	dir := t.TempDir()
	port, tlsPort, dist, epmd := FreePort(t), FreePort(t), FreePort(t), FreePort(t)
	r := &RabbitMQ{T: t, dir: dir, node: "t" + port + "@localhost",
		Address: "amqp://guest:guest@127.0.0.1:" + port + "/%2f", TLS: "amqps://guest:guest@localhost:" + tlsPort + "/%2f",
		CAFile: filepath.Join(dir, "ca.pem")}
	writeCertificates(t, dir)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	conf := file("rabbitmq.conf", strings.Join(append([]string{
		"listeners.ssl.default = 127.0.0.1:" + tlsPort,
		"ssl_options.cacertfile = " + r.CAFile,
		"ssl_options.certfile = " + filepath.Join(dir, "cert.pem"),
		"ssl_options.keyfile = " + filepath.Join(dir, "key.pem"),
		"ssl_options.verify = verify_none",
		"disk_free_limit.absolute = 1MB",
	}, config...), "\n")+"\n")
	// Its scripts read HOME for the cookie, and nothing of /etc/rabbitmq.
	r.env = Environ(dir,
		"RABBITMQ_NODENAME="+r.node, "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT="+port, "RABBITMQ_DIST_PORT="+dist,
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+epmd, "RABBITMQ_CONF_ENV_FILE="+file("env.conf", ""),
		"RABBITMQ_CONFIG_FILE="+conf, "RABBITMQ_ADVANCED_CONFIG_FILE="+filepath.Join(dir, "none.config"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_SCHEMA_DIR="+filepath.Join(dir, "schema"), "RABBITMQ_GENERATED_CONFIG_DIR="+filepath.Join(dir, "config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+file("plugins", "[].\n"), "RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
		// One scheduler that does not spin: tests share the machine.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none")
	// Without one of its own, the broker would leave a daemon behind.
	Launch(t, r.env, "epmd", "-address", "127.0.0.1", "-port", epmd)
	r.Start()
	return r
}

// Start starts the broker again, with what it has kept.
func (r *RabbitMQ) Start() {
	r.T.Helper()
	r.Process = Launch(r.T, r.env, rabbitPrograms+"rabbitmq-server")
	r.Process.Find(`(Server startup complete)`)
}

// Kill ends it with SIGKILL.
func (r *RabbitMQ) Kill() {
	r.T.Helper()
	r.Process.Kill()
	WaitFor(r.T, "the port of a killed broker to close", func() bool {
		c, err := net.Dial("tcp", r.hostPort())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// Stop ends it as an operator does.
func (r *RabbitMQ) Stop() {
	r.T.Helper()
	r.Process.Signal(syscall.SIGTERM)
	r.Process.Wait(60 * time.Second)
}

func (r *RabbitMQ) hostPort() string {
	_, host, _ := strings.Cut(r.Address, "@")
	host, _, _ = strings.Cut(host, "/")
	return host
}

// As returns the address for another user, whose password is its name, and virtual host.
func (r *RabbitMQ) As(user, vhost string) string {
	return "amqp://" + user + ":" + user + "@" + r.hostPort() + "/" + vhost
}

// Ctl runs rabbitmqctl.
func (r *RabbitMQ) Ctl(args ...string) string {
	r.T.Helper()
	cmd := exec.Command(rabbitPrograms+"rabbitmqctl", append([]string{"-q", "-n", r.node}, args...)...)
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	require.NoError(r.T, err, "rabbitmqctl %s: %s", strings.Join(args, " "), out)
	return string(out)
}

// OtherCA returns the file of an authority that has issued nothing that is in use.
func OtherCA(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeCertificates(t, dir)
	return filepath.Join(dir, "ca.pem")
}

// writeCertificates makes an authority and a certificate for localhost.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		return k
	}
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	caKey, own := key(), key()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of a test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", der)
	cert := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err = x509.CreateCertificate(rand.Reader, cert, ca, &own.PublicKey, caKey)
	require.NoError(t, err)
	write("cert.pem", "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(own)
	require.NoError(t, err)
	write("key.pem", "PRIVATE KEY", der)
}

// WaitFor waits until f is true, for a minute at most.
func WaitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "not within a minute: %s", what)
	}
}
