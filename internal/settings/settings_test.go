package settings_test

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

type inner struct {
	Port  int      `split_words:"true"`
	Names []string `split_words:"true"`
}

type item struct {
	Name string
	Max  units.Bytes
}

type items []item

func (i *items) Decode(text string) error { return json.Unmarshal([]byte(text), i) }

// Shared is embedded: its keys are those of the struct that contains it.
type Shared struct {
	CertFile string `split_words:"true"`
}

type config struct {
	ListenOn string      `split_words:"true"`
	Most     units.Bytes `split_words:"true"`
	On       *bool       `split_words:"true"`
	Shared
	Inner   *inner `envconfig:"INN"`
	Also    items  `split_words:"true"`
	private int
	Log     *int `json:"-" ignored:"true"`
}

func object(t *testing.T, s string) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(s), &v))
	return v
}

func TestFields(t *testing.T) {
	var got []string
	for _, f := range settings.Fields(reflect.TypeFor[config](), "T") {
		got = append(got, f.Key+" "+f.Env+" "+settings.TypeName(f.Type))
	}
	require.Equal(t, []string{"ListenOn T_LISTEN_ON a string", "Most T_MOST a size", "On T_ON true or false",
		"CertFile T_CERT_FILE a string", "Inner.Port T_INN_PORT a whole number",
		"Inner.Names T_INN_NAMES a list", "Also T_ALSO a list", "Also.N.Name  a string", "Also.N.Max  a size"}, got)
}

func TestDecodeReportsAllAtOnce(t *testing.T) {
	c := config{ListenOn: "kept", private: 1}
	require.NoError(t, settings.Decode("x", object(t, `{"most": "20GiB", "On": false, "certfile": "c", "INNER": {"Port": 5}, "Also": [{"Name": "a", "Max": 7}]}`), &c))
	require.Equal(t, "kept", c.ListenOn)
	require.EqualValues(t, 20<<30, c.Most)
	require.False(t, *c.On)
	require.Equal(t, "c", c.CertFile)
	require.Equal(t, 5, c.Inner.Port)
	require.Equal(t, items{{"a", 7}}, c.Also)
	require.NoError(t, settings.Decode("x", object(t, `{"Inner": null}`), &c))
	require.Nil(t, c.Inner)

	err := settings.Decode("x", object(t, `{"ListenOn": 5, "Most": "many", "Innner": {}, "Inner": {"Port": "a", "Names": "b"}, "Also": [{"Nam": 1}]}`), &c)
	require.EqualError(t, err, `x.Also.0.Nam: unknown key; did you mean Name?; want one of Name, Max
x.Inner.Names: want a list, got string
x.Inner.Port: want a whole number, got string
x.Innner: unknown key; did you mean Inner?; want one of ListenOn, Most, On, CertFile, Inner, Also
x.ListenOn: want a string, got number
x.Most: "many": want a size, such as 500000000, 512MiB, 20GiB or 1.5GB`)
	require.EqualError(t, settings.Decode("x", "text", &c), "x: want an object, got string")
}

func TestFromEnv(t *testing.T) {
	var c config
	require.NoError(t, settings.FromEnv("T", &c))
	require.Nil(t, c.Inner)
	require.Nil(t, c.On)
	t.Setenv("T_ON", "false")
	t.Setenv("T_INN_PORT", "0")
	require.NoError(t, settings.FromEnv("T", &c))
	require.NotNil(t, c.On, "a setting with its zero value counts as set")
	require.False(t, *c.On)
	require.NotNil(t, c.Inner)
	c = config{}
	require.NoError(t, os.Unsetenv("T_ON"))
	require.NoError(t, os.Unsetenv("T_INN_PORT"))
	t.Setenv("T_MOST", "1.5GB")
	t.Setenv("T_INN_NAMES", "a,b")
	require.NoError(t, settings.FromEnv("T", &c))
	require.EqualValues(t, 1_500_000_000, c.Most)
	require.Equal(t, []string{"a", "b"}, c.Inner.Names)

	t.Setenv("T_MOST", "-1")
	t.Setenv("T_ON", "maybe")
	t.Setenv("T_INN_PORT", "many")
	for range 2 { // the variables are unchanged
		require.EqualError(t, settings.FromEnv("T", &c), `T_MOST="-1": want a size, such as 500000000, 512MiB, 20GiB or 1.5GB
T_ON="maybe": want true or false
T_INN_PORT="many": want a whole number`)
	}
}
