package geo

import (
	"bytes"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptest "github.com/libp2p/go-libp2p/core/test"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database writes a small MaxMind DB file. Reserved networks are in it, so that only
// Lookup can exclude them.
func database(t testing.TB, countries map[string]string) string {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-Country", IncludeReservedNetworks: true})
	require.NoError(t, err)
	// The wider network first: a later one replaces a part of it.
	for _, network := range slices.SortedFunc(maps.Keys(countries), func(a, b string) int {
		return netip.MustParsePrefix(a).Bits() - netip.MustParsePrefix(b).Bits()
	}) {
		code := countries[network]
		_, ipnet, err := net.ParseCIDR(network)
		require.NoError(t, err)
		require.NoError(t, w.Insert(ipnet, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}}))
	}
	path := filepath.Join(t.TempDir(), "country.mmdb")
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = w.WriteTo(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return path
}

// records writes a MaxMind DB file with one record for each network.
func records(t testing.TB, kind string, all map[string]mmdbtype.Map) string {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IncludeReservedNetworks: true})
	require.NoError(t, err)
	for network, record := range all {
		_, ipnet, err := net.ParseCIDR(network)
		require.NoError(t, err)
		require.NoError(t, w.Insert(ipnet, record))
	}
	path := filepath.Join(t.TempDir(), "other.mmdb")
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = w.WriteTo(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return path
}

// TestCountryFilesOfOtherMakers reads the records that those makers document.
func TestCountryFilesOfOtherMakers(t *testing.T) {
	text := func(s string) mmdbtype.String { return mmdbtype.String(s) }
	f := func(kind string, record mmdbtype.Map) {
		t.Helper()
		l := open(t, Config{GeoIPDatabase: records(t, kind, map[string]mmdbtype.Map{
			"1.0.0.0/24": {"note": text("no country here")}, "8.8.8.0/24": record,
		})})
		require.Equal(t, "US", l.Country(addr(t, "/ip4/8.8.8.8/tcp/4001")), kind)
		require.Empty(t, l.Country(addr(t, "/ip4/1.0.0.1/tcp/4001")), kind)
		require.Empty(t, l.Country(addr(t, "/ip4/9.9.9.9/tcp/4001")), kind)
	}
	f("GeoLite2-Country", mmdbtype.Map{"country": mmdbtype.Map{"iso_code": text("US")}, "registered_country": mmdbtype.Map{"iso_code": text("DE")}})
	f("ipinfo lite", mmdbtype.Map{"asn": text("AS15169"), "country": text("United States"), "country_code": text("US"), "continent": text("North America")})
	f("ipinfo country.mmdb", mmdbtype.Map{"country": text("US"), "country_name": text("United States")})
	f("iplocate ip-to-country", mmdbtype.Map{"country_code": text("US"), "network": text("8.8.8.0/24")})

	// A file without countries is an error that says what the file has.
	refuse := func(path string, want ...string) {
		t.Helper()
		_, err := Open(Config{GeoIPDatabase: path})
		for _, w := range append(want, path, "GeoIPDatabase", "want country.iso_code, country_code or country with two letters") {
			require.ErrorContains(t, err, w)
		}
	}
	refuse(records(t, "GeoLite2-ASN", map[string]mmdbtype.Map{"8.8.8.0/24": {"autonomous_system_number": mmdbtype.Uint32(15169), "autonomous_system_organization": text("Google")}}),
		`"GeoLite2-ASN"`, "autonomous_system_number, autonomous_system_organization")
	refuse(records(t, "names", map[string]mmdbtype.Map{"8.8.8.0/24": {"country": text("Germany")}}), "country")
	refuse(records(t, "empty", nil), `"empty"`)
}

func open(t testing.TB, cfg Config) *Lookup {
	t.Helper()
	l, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func addr(t testing.TB, s string) ma.Multiaddr {
	t.Helper()
	a, err := ma.NewMultiaddr(s)
	require.NoError(t, err)
	return a
}

func TestCountry(t *testing.T) {
	l := open(t, Config{GeoIPDatabase: database(t, map[string]string{
		"0.0.0.0/1": "AA", "128.0.0.0/1": "BB", "2a00::/12": "CC", "2001:db8::/32": "DD", "fc00::/7": "EE",
		"5.5.5.0/24": "x\n", "6.6.6.0/24": "Germany",
	})})
	const relay = "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"
	for _, c := range []struct{ addr, want string }{
		{"/ip4/8.8.8.8/tcp/4001", "AA"},
		{"/ip4/185.1.2.3/udp/4001/quic-v1", "BB"},
		{"/ip6/2a02::1/tcp/4001", "CC"},
		{"/ip6/2600::1/tcp/4001", ""}, // not in the database
		{"/ip4/8.8.8.8/tcp/4001" + relay, "AA"},
		{"/ip4/8.8.8.8/tcp/4001" + relay + "/p2p-circuit", ""},
		{"/p2p-circuit/ip4/8.8.8.8/tcp/1", ""},
		{"/ip4/127.0.0.1/tcp/4001", ""},
		{"/ip4/10.1.2.3/tcp/4001", ""},
		{"/ip4/172.16.0.1/tcp/4001", ""},
		{"/ip4/192.168.0.1/tcp/4001", ""},
		{"/ip4/100.64.0.1/tcp/4001", ""},
		{"/ip4/100.127.255.254/tcp/4001", ""},
		{"/ip4/169.254.1.1/tcp/4001", ""},
		{"/ip4/192.0.2.1/tcp/4001", ""},
		{"/ip4/198.51.100.1/tcp/4001", ""},
		{"/ip4/203.0.113.1/tcp/4001", ""},
		{"/ip4/224.0.0.1/udp/1", ""},
		{"/ip4/0.0.0.0/tcp/1", ""},
		{"/ip6/::1/tcp/4001", ""},
		{"/ip6/fd00::1/tcp/4001", ""},
		{"/ip6/fe80::1/tcp/4001", ""},
		{"/ip6zone/eth0/ip6/fe80::1/tcp/4001", ""},
		{"/ip6/2001:db8::1/tcp/4001", ""},
		{"/dns4/example.com/tcp/443", ""},
		{"/unix/tmp/sock", ""},
		{"/ip4/5.5.5.5/tcp/1", ""}, // an invalid code is not returned
		{"/ip4/6.6.6.6/tcp/1", ""},
	} {
		require.Equal(t, c.want, l.Country(addr(t, c.addr)), c.addr)
	}
	require.Empty(t, l.Country(nil))
}

func TestNothingConfigured(t *testing.T) {
	l := open(t, Config{})
	require.Empty(t, l.Country(addr(t, "/ip4/8.8.8.8/tcp/4001")))
	require.False(t, l.Gateway(libp2ptest.RandPeerIDFatal(t)))
	require.Zero(t, l.Gateways())
	require.NoError(t, l.Close())
}

func TestDatabaseThatIsNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.mmdb")
	require.NoError(t, os.WriteFile(path, []byte("a text"), 0o644))
	for _, c := range []struct{ path, want string }{
		{path, "not a MaxMind DB file"}, {filepath.Join(dir, "none"), "no such file"}, {dir, "want a regular file"},
	} {
		_, err := Open(Config{GeoIPDatabase: c.path})
		require.ErrorContains(t, err, "GeoIPDatabase")
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, c.path)
	}
}

// TestDamagedDatabase overwrites parts of a database: whatever it then returns, the
// process survives.
func TestDamagedDatabase(t *testing.T) {
	good, err := os.ReadFile(database(t, map[string]string{"0.0.0.0/1": "AA", "128.0.0.0/1": "BB"}))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "x.mmdb")
	opened := 0
	for at := 0; at < len(good); at += 3 {
		bad := bytes.Clone(good)
		bad[at] ^= 0xff
		require.NoError(t, os.WriteFile(path, bad, 0o644))
		l, err := Open(Config{GeoIPDatabase: path})
		if err != nil {
			continue
		}
		opened++
		for _, a := range []string{"/ip4/8.8.8.8/tcp/1", "/ip4/185.1.1.1/tcp/1", "/ip6/2a02::1/tcp/1"} {
			if c := l.Country(addr(t, a)); len(c) != 0 && len(c) != 2 {
				t.Fatalf("byte %d: %q", at, c)
			}
		}
		require.NoError(t, l.Close())
	}
	require.NotZero(t, opened)
}

// TestAPanicIsCounted: the database's reader panics, and the look-up has no answer.
func TestAPanicIsCounted(t *testing.T) {
	log, lines := guardtest.New()
	l, err := Open(Config{GeoIPDatabase: database(t, map[string]string{"0.0.0.0/1": "AA"}), Logger: log})
	require.NoError(t, err)
	defer l.Close()
	whole := l.database
	l.database = nil // a fault in this package
	for range 2 {
		require.Empty(t, l.countryOf(net.IPv4(8, 8, 8, 8)))
	}
	require.EqualValues(t, 2, l.Panics())
	lines.Once(t, "geo: look an address up", "geo.(*Lookup).countryOf")
	l.database = whole
	require.Equal(t, "AA", l.Country(addr(t, "/ip4/8.8.8.8/tcp/1")))
}

func TestGatewayList(t *testing.T) {
	a, b, c := libp2ptest.RandPeerIDFatal(t), libp2ptest.RandPeerIDFatal(t), libp2ptest.RandPeerIDFatal(t)
	path := filepath.Join(t.TempDir(), "gateways")
	replace := func(text string) { // as an editor does
		t.Helper()
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o644))
		require.NoError(t, os.Rename(path+".new", path))
	}
	replace("# known gateways\n\n" + a.String() + "  # of somebody\r\n" + peer.ToCid(b).String())
	var log logtest.Buffer
	l := open(t, Config{GatewayList: path, pollInterval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.True(t, l.Gateway(a))
	require.True(t, l.Gateway(b))
	require.False(t, l.Gateway(c))
	require.Equal(t, 2, l.Gateways())

	replace(c.String() + "\n")
	select {
	case <-l.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("the change was not reported")
	}
	require.True(t, l.Gateway(c))
	require.False(t, l.Gateway(a))

	says := func(parts ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			for _, p := range parts {
				if !strings.Contains(log.String(), p) {
					return false
				}
			}
			return true
		}, 30*time.Second, time.Millisecond, "%s", &log)
	}
	replace(a.String() + "\n\nno-peer\n")
	says("the old one is kept", "line 3", "no-peer", path)
	require.NoError(t, os.Remove(path))
	says("no such file")
	time.Sleep(20 * time.Millisecond) // many polls
	require.Equal(t, 2, strings.Count(log.String(), "the old one is kept"), "once for each change: %s", &log)
	require.True(t, l.Gateway(c))

	replace(a.String())
	require.Eventually(t, func() bool { return l.Gateway(a) && !l.Gateway(c) }, 30*time.Second, time.Millisecond)
}

func TestGatewayListThatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateways")
	require.NoError(t, os.WriteFile(path, []byte("# ok\n\x00\xff\n"+strings.Repeat("x\n", 10)), 0o644))
	_, err := Open(Config{GatewayList: path})
	require.ErrorContains(t, err, "GatewayList: "+path)
	require.ErrorContains(t, err, `line 2: "\x00\xff" is not a peer ID`)
	require.ErrorContains(t, err, "and 6 more lines")
	_, err = Open(Config{GatewayList: path + ".none"})
	require.ErrorContains(t, err, "no such file")
}

func BenchmarkCountry(b *testing.B) {
	l := open(b, Config{GeoIPDatabase: database(b, map[string]string{"0.0.0.0/1": "AA"})})
	a := addr(b, "/ip4/8.8.8.8/tcp/4001")
	b.ReportAllocs()
	for b.Loop() {
		l.Country(a)
	}
}
