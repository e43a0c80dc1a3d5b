package geo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oschwald/maxminddb-golang"
)

// form returns the country of a record, which read decodes. Files of different
// makers have it under different keys.
type form func(read func(record any) error) (string, error)

// forms are tried in this order.
var forms = []form{
	func(read func(any) error) (string, error) {
		var r struct {
			Country struct {
				Code string `maxminddb:"iso_code"`
			} `maxminddb:"country"`
		}
		err := read(&r)
		return r.Country.Code, err
	},
	func(read func(any) error) (string, error) {
		var r struct {
			Code string `maxminddb:"country_code"`
		}
		err := read(&r)
		return r.Code, err
	},
	func(read func(any) error) (string, error) {
		var r struct {
			Code string `maxminddb:"country"`
		}
		err := read(&r)
		return r.Code, err
	},
}

// looked is how many records are read in search of a country before the file is
// rejected.
const looked = 10_000

// findForm finds under which keys the database has countries. The error names the
// keys that its records have.
func (l *Lookup) findForm() (found form, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.guard.Caught(p, "geo: look through the database")
			err = errors.New("is damaged; want a MaxMind DB file with countries")
		}
	}()
	has := map[string]bool{}
	records := l.database.Networks(maxminddb.SkipAliasedNetworks)
	for n := 0; n < looked && records.Next(); n++ {
		var whole map[string]any
		read := func(record any) error {
			_, err := records.Network(record)
			return err
		}
		for _, f := range forms {
			if code, err := f(read); err == nil && isCode(code) {
				return f, nil
			}
		}
		if read(&whole) == nil && len(has) < 16 {
			for key := range whole {
				has[key] = true
			}
		}
	}
	if err := records.Err(); err != nil {
		return nil, fmt.Errorf("is damaged (%w); want a MaxMind DB file with countries", err)
	}
	return nil, fmt.Errorf("no record has a country (type %q, keys %q); want country.iso_code, country_code or country with two letters, as GeoLite2-Country.mmdb has",
		l.database.Metadata.DatabaseType, strings.Join(slices.Sorted(maps.Keys(has)), ", "))
}

// isCode reports whether a text has the form of an ISO 3166-1 alpha-2 code.
func isCode(code string) bool {
	return len(code) == 2 && upper(code[0]) && upper(code[1])
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }
