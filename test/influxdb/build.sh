#!/usr/bin/env bash
# Builds an InfluxDB, the server, without its Flux engine:
#
#	test/influxdb/build.sh VERSION OUT
#
# VERSION is 2.9.1 or 1.13.2, which the tests run, or 2.7.12. OUT becomes the program influxd. If it is there already and of this version, nothing is done. It needs Go, a C compiler (for SQLite), a module proxy and
# about 1.5 GB in Go's caches; on two cores it takes some minutes.
#
# InfluxDB asks for libflux, which is written in Rust and cannot be had
# from a Go module proxy. HTTP, tokens, organisations, buckets, InfluxQL and
# storage do not use it. So this script copies InfluxDB and flux out of Go's
# module cache, puts our own libflux in place that refuses every script,
# and builds. All other modules are those of InfluxDB's own go.mod, checked
# against its own go.sum; the two copied ones against the sums below. What
# comes out is InfluxDB's code, but no official build of it: it is for tests.
set -euo pipefail

say() { echo "influxdb: $*"; }
fail() {
	echo "influxdb: $*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "want a version and the path of the influxd to build: $0 VERSION OUT"
version=$1
mod='readonly'
case $version in
2.7.12)
	influxdb=github.com/influxdata/influxdb/v2@v2.7.12
	influxdb_sum=h1:m25dUSO7h6nm3zFC4v/aCNeFFmnN/mlN/uPo1T63bmk=
	flux=github.com/influxdata/flux@v0.196.1
	flux_sum=h1:RZypfrrAZeIixD/2As+qoyrwfs6Gx7VcnTRNGNjBfUA=
	;;
2.9.1)
	influxdb=github.com/influxdata/influxdb/v2@v2.9.1
	influxdb_sum=h1:lCCimWY/VpSmNyfOUm5WqKhZijlgJA8JHSD/+39XXuA=
	flux=github.com/influxdata/flux@v0.200.0
	flux_sum=h1:r1KAmr0F0eZ3UV6p00HsJYRHbfCyF1ARA9lAwxD2VeM=
	;;
1.13.2)
	influxdb=github.com/influxdata/influxdb@v1.13.2
	influxdb_sum=h1:jwauUMQzyQIOfqZr90qsmlxVw/0MliHv3L7rsnUWsfo=
	flux=github.com/influxdata/flux@v0.200.0
	flux_sum=h1:r1KAmr0F0eZ3UV6p00HsJYRHbfCyF1ARA9lAwxD2VeM=
	mod=mod # its go.sum lacks sums of go.mod files: Go adds them, compared with the checksum database
	;;
*) fail "version $version: want 2.9.1, 1.13.2 or 2.7.12" ;;
esac
mkdir -p "$(dirname "$2")"
out=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
[ ! -d "$out" ] || fail "$out is a directory; want the path of the program to build"

built() { [ -x "$1" ] && "$1" version 2>&1 | grep -qE "InfluxDB v$version \(git: .*without-flux\)"; }
if built "$out"; then
	say "$out is there, version $version"
	exit 0
fi

command -v go >/dev/null || fail "no go in PATH; Go 1.23 or newer is needed"
cc=$(go env CC)
command -v "${cc%% *}" >/dev/null || fail "no C compiler: $cc is not in PATH, and InfluxDB's SQLite needs one"

# Beside OUT, so that the last step is a rename; one of its own for each run,
# so that two runs do not meet.
work=$(mktemp -d "$out.build.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"

# The environment's own settings must not lead the build elsewhere. Proxy,
# checksum database and the other GOFLAGS stay as they are.
export GOWORK=off CGO_ENABLED=1

# fetch MODULE SUM DIR copies a module out of the module cache. Go compares it
# with the checksum database, we with the sum that we know.
fetch() {
	say "fetching $1"
	local answer got dir
	answer=$(go mod download -json "$1") || fail "cannot download $1 (GOPROXY=$(go env GOPROXY)): $answer"
	got=$(sed -n 's/^\t"Sum": "\(.*\)",*$/\1/p' <<<"$answer")
	dir=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$answer")
	[ "$got" = "$2" ] || fail "$1 has the checksum $got, want $2"
	cp -R "$dir" "$3"
	chmod -R u+w "$3"
}
fetch $influxdb $influxdb_sum influxdb
fetch $flux $flux_sum flux

say "replacing libflux"
rm flux/libflux/go/libflux/*.go
cat >flux/libflux/go/libflux/libflux.go <<'GO'
// Package libflux stands in for the Flux compiler and refuses every script.
package libflux

import (
	"context"
	"errors"

	"github.com/influxdata/flux/semantic"
)

var errNoFlux = errors.New("this build carries no Flux engine")

type Options struct{}

func NewOptions(context.Context) Options { return Options{} }

// ASTPkg is a script that was not parsed.
type ASTPkg struct{}

func Parse(string, string) *ASTPkg           { return new(ASTPkg) }
func ParseString(string) *ASTPkg             { return new(ASTPkg) }
func ParseJSON([]byte) (*ASTPkg, error)      { return nil, errNoFlux }
func MergePackages(*ASTPkg, *ASTPkg) error   { return errNoFlux }
func (ASTPkg) ASTHandle()                    {}
func (ASTPkg) Format() (string, error)       { return "", errNoFlux }
func (ASTPkg) GetError(Options) error        { return errNoFlux }
func (*ASTPkg) MarshalJSON() ([]byte, error) { return nil, errNoFlux }
func (*ASTPkg) Free()                        {}

// SemanticPkg is a script that was not analysed.
type SemanticPkg struct{}

func AnalyzeWithOptions(*ASTPkg, Options) (*SemanticPkg, error) { return nil, errNoFlux }
func (*SemanticPkg) MarshalFB() ([]byte, error)                 { return nil, errNoFlux }
func (*SemanticPkg) Free()                                      {}

func SemanticPackages() (map[string]*semantic.Package, error) { return nil, errNoFlux }
GO

# The types of Flux's functions come from libflux too. They are asked for when
# the program starts, and used by no one without a script: any type will do.
cat >flux/runtime/lookup.go <<'GO'
package runtime

import "github.com/influxdata/flux/semantic"

func LookupBuiltinType(pkg, name string) (semantic.MonoType, error) {
	return semantic.NewFunctionType(semantic.BasicBool, nil), nil
}

func MustLookupBuiltinType(pkg, name string) semantic.MonoType {
	t, _ := LookupBuiltinType(pkg, name)
	return t
}
GO

# At the start Flux's own library of scripts would be compiled.
sed 's/err := Default\.Finalize()/err := error(nil)/' flux/runtime/global.go >global.go
if cmp -s global.go flux/runtime/global.go; then fail "$flux is not as expected: no Default.Finalize in runtime/global.go"; fi
mv global.go flux/runtime/global.go

say "building, this takes minutes"
cd influxdb
go mod edit -replace "${flux%@*}=../flux"
go build -mod=$mod -buildvcs=false -ldflags "-s -w -X main.version=v$version -X main.commit=without-flux" \
	-o ../influxd ./cmd/influxd || fail "the build failed; $(go version), GOFLAGS=$(go env GOFLAGS)"
built ../influxd || fail "the program does not start or is of another version: $(../influxd version 2>&1 || true)"
mv ../influxd "$out"
say "built $out, $(du -m "$out" | cut -f1) MB"
