package event

import (
	"slices"
	"strings"
	"time"
)

// Countries is the closed set of the tag country: "none" where the country is
// not known, the codes of ISO 3166-1, XK that databases use for Kosovo, and
// "other" for what is no country.
var Countries = slices.Concat([]string{"none"}, strings.Fields(`
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT
JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ
UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW`), []string{"other"})

// countryPlaces are the places in Countries by the two letters of the code, 0
// for letters that are no country.
var countryPlaces = func() (places [26 * 26]uint8) {
	for i, c := range Countries {
		if len(c) == 2 {
			places[int(c[0]-'A')*26+int(c[1]-'A')] = uint8(i)
		}
	}
	return places
}()

// CountryIndex returns the place in Countries of an event's country: the first
// for "", the last for what is no country.
func CountryIndex(c string) int {
	if c == "" {
		return 0
	}
	if len(c) == 2 && c[0] >= 'A' && c[0] <= 'Z' && c[1] >= 'A' && c[1] <= 'Z' {
		if i := countryPlaces[int(c[0]-'A')*26+int(c[1]-'A')]; i > 0 {
			return int(i)
		}
	}
	return len(Countries) - 1
}

// MaxOrigins is the number of groups of peers that Origins can have.
var MaxOrigins = len(Countries) * int(Directions) * 2

// Origins are sums of one interval's Bitswap traffic over libp2p and new
// connections by where the peers are.
type Origins struct {
	Interval time.Duration // since the sums before
	Missed   uint64        // events that left the bus before they could be counted here
	Sums     []Origin      // those that are not 0, each group once, in the order of OriginIndex
}

// Origin is what is summed of the peers of one country and direction, gateways
// apart.
type Origin struct {
	Country string    // as of an event: "" if unknown; what is no country is "other"
	Dir     Direction // of connections: Received if the peer opened it
	Gateway bool      // the peers are in the list of gateways

	Messages    uint64
	Wants       uint64 // without cancels
	Blocks      uint64
	BlockBytes  uint64
	Connections uint64 // opened
}

// Add adds what is summed of another one of the same group.
func (o *Origin) Add(more *Origin) {
	o.Messages += more.Messages
	o.Wants += more.Wants
	o.Blocks += more.Blocks
	o.BlockBytes += more.BlockBytes
	o.Connections += more.Connections
}

// OriginIndex returns the place of a group of peers, less than MaxOrigins.
func OriginIndex(country string, dir Direction, gateway bool) int {
	i := (CountryIndex(country)*int(Directions) + int(dir&1)) * 2
	if gateway {
		i++
	}
	return i
}

// OriginAt returns the group at a place, with sums of 0.
func OriginAt(i int) Origin {
	o := Origin{Country: Countries[i/4], Dir: Direction(i / 2 % 2), Gateway: i%2 == 1}
	if i/4 == 0 {
		o.Country = ""
	}
	return o
}
