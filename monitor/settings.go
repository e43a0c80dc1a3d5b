package monitor

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/suggest"
)

//go:generate go test . -run TestSettingsAreCurrent -update

// Setting describes one key of the configuration.
type Setting struct {
	Key     string `json:"key"`
	Type    string `json:"type"`
	Default string `json:"default"`
	Env     string `json:"env,omitempty"`
	Flag    string `json:"flag,omitempty"` // of "ipfsmon run"
	Since   string `json:"since"`          // the first version that has it
	Doc     string `json:"doc"`
}

// flagOf maps keys to the flags of "ipfsmon run" that set them.
var flagOf = map[string]string{
	"AMQPServerAddress":                "--amqp",
	"DataFolder":                       "--data",
	"HTTPServerConfig.ListenAddresses": "--http",
	"InfluxDB.URL":                     "--influxdb",
	"MonitorName":                      "--name",
	"PopulatePrometheusInterval":       "--interval",
	"StoreListenAddress":               "--store",
	"TCPServerConfig.ListenAddresses":  "--stream",
}

// Settings lists every setting, from the source of Config: its fields, their types and their
// comments.
func Settings() []Setting {
	var out []Setting
	for _, f := range settings.Fields(reflect.TypeFor[Config](), envPrefix) {
		d := settingDocs[f.Key]
		out = append(out, Setting{Key: f.Key, Type: strings.TrimPrefix(strings.TrimPrefix(settings.TypeName(f.Type), "an "), "a "),
			Default: d.Default, Env: f.Env, Flag: flagOf[f.Key], Since: d.Since, Doc: d.Doc})
	}
	return out
}

type settingDoc struct{ Default, Since, Doc string }

// named adds to each error, which begins with a key, the source of its value: the flag or the
// variable in place of the key, or the path of the section or of the file's part.
func named(path string, errs []error, values, sources map[string]string) error {
	env := map[string]string{}
	for _, s := range Settings() {
		env[s.Key] = s.Env
	}
	var out []error
	for _, err := range errs {
		text := err.Error()
		key := keyOf(text, values)
		name := ""
		switch sources[key] {
		case FromFlag:
			name = flagOf[key]
		case FromEnv:
			name = env[key]
		}
		switch {
		case name != "":
		case sources[key] == FromFile:
			out = append(out, fmt.Errorf("%s.%w", FileKey, err))
			continue
		default:
			out = append(out, fmt.Errorf("%s.%w", path, err))
			continue
		}
		out = append(out, errors.New(name+": "+rest(text, key)))
	}
	return errors.Join(out...)
}

// keyOf returns the key that an error is about: the one that it begins with, or a key below it
// that it names or whose value it quotes.
func keyOf(text string, values map[string]string) string {
	head, tail, _ := strings.Cut(text, ": ")
	best := ""
	for key, value := range values {
		under, ok := strings.CutPrefix(key, head+".")
		switch {
		case key == head:
			return key
		case !ok:
		case strings.HasPrefix(tail, under+":"), strings.HasPrefix(tail, under+" "):
			return key
		default:
			for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(`[]",`, r) }) {
				if len(word) > 2 && strings.Contains(tail, word) && (best == "" || key < best) {
					best = key
				}
			}
		}
	}
	return best
}

// rest returns an error's text without the key.
func rest(text, key string) string {
	_, text, _ = strings.Cut(text, ": ")
	last := key[strings.LastIndexByte(key, '.')+1:]
	if cut, ok := strings.CutPrefix(text, last+": "); ok {
		return cut
	}
	return text
}

// kubernetes matches the variables that Kubernetes sets for a service with our name.
var kubernetes = regexp.MustCompile(`^IPFSMON_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)|PORT)(_|$)`)

// UnknownVariables returns a line for each environment variable that begins with IPFSMON_ and
// that nothing reads; more are the names that are read in addition to those of Settings.
func UnknownVariables(more []string) []string {
	known := slices.Clone(more)
	for _, s := range Settings() {
		if s.Env != "" {
			known = append(known, s.Env)
		}
	}
	var out []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, envPrefix+"_") && !slices.Contains(known, name) && !kubernetes.MatchString(name) {
			out = append(out, "unknown variable "+name+suggest.DidYouMean(name, known, "")+"; `ipfsmon config --all` lists the known ones")
		}
	}
	slices.Sort(out)
	return out
}
