#!/usr/bin/env bash
# Builds the Docker Compose command line out of the Go module proxy:
#
#	docker/test/compose.sh OUT
#
# OUT becomes the program docker-compose. If it is there already, nothing is
# done. Debian's docker-compose is the first version, which cannot read the
# files of today; and "go install" refuses a module with exclude directives, so
# it is built as the main module, in a copy.
set -euo pipefail

version=v5.1.4
module=github.com/docker/compose/v5@$version
sum=h1:72mGZplTVlbq6JxxhCW/bX2o1h+tT8mwt7mc+QtmA6o=

fail() {
	echo "compose: $*" >&2
	exit 1
}
[ $# -eq 1 ] || fail "want one argument, the path of the docker-compose to build: $0 OUT"
mkdir -p "$(dirname "$1")"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
built() { [ -x "$1" ] && "$1" version --short 2>/dev/null | grep -qxF "${version#v}"; }
if built "$out"; then exit 0; fi

command -v go >/dev/null || fail "no go in PATH"
work=$(mktemp -d "$out.build.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
answer=$(cd "$work" && go mod download -json "$module") || fail "cannot download $module: $answer"
got=$(sed -n 's/^\t"Sum": "\(.*\)",*$/\1/p' <<<"$answer")
dir=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$answer")
[ "$got" = "$sum" ] || fail "$module has the checksum $got, want $sum"
cp -R "$dir" "$work/src"
chmod -R u+w "$work/src"
cd "$work/src"
GOWORK=off CGO_ENABLED=0 go build -mod=readonly -buildvcs=false \
	-ldflags "-s -w -X github.com/docker/compose/v5/internal.Version=${version#v}" -o "$work/docker-compose" ./cmd ||
	fail "the build failed; $(go version)"
built "$work/docker-compose" || fail "the program does not start: $("$work/docker-compose" version 2>&1 || true)"
mv "$work/docker-compose" "$out"
echo "compose: built $out, $(du -m "$out" | cut -f1) MB"
