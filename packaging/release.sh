#!/usr/bin/env bash
# Makes a release in a folder, from the variables that `make release` sets: archives with manual and
# completions, packages, SBOMs, checksums. A build has neither paths, times nor build IDs, and what
# it is packed into has the time of the commit: the same sources and Go make the same bytes.
#
#   release.sh FOLDER SYSTEM...      a system is linux/amd64
set -euo pipefail
out=$1
shift
: "${VERSION:?}" "${COMMIT:?}" "${LDFLAGS:?}" "${DOCS:?}" "${SBOM:?}" "${GO:=go}" "${SOURCE_DATE_EPOCH:?}"
host=$("$GO" env GOHOSTOS)/$("$GO" env GOHOSTARCH)
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # SYSTEM FILE
	CGO_ENABLED=0 GOOS=${1%/*} GOARCH=${1#*/} "$GO" build -trimpath -buildvcs=false -ldflags "-s -w -buildid= $LDFLAGS" -o "$2" ./cmd/ipfsmon
}

# The manual and the completions are printed by a program that runs here.
build "$host" "$work/ipfsmon"
"$work/ipfsmon" --version | grep -F "$VERSION, commit $COMMIT," || { echo "the program is not $VERSION of commit $COMMIT" >&2; exit 1; }
"$work/ipfsmon" man "$work/man"
mkdir "$work/completions"
for shell in bash zsh fish; do "$work/ipfsmon" completion $shell >"$work/completions/ipfsmon.$shell"; done

for system; do
	os=${system%/*} arch=${system#*/}
	name=ipfsmon-$VERSION-$os-$arch
	dir=$work/$name
	mkdir "$dir"
	if [ "$system" = "$host" ]; then cp "$work/ipfsmon" "$dir/"; else build "$system" "$dir/ipfsmon"; fi
	# shellcheck disable=SC2086 # several files
	cp -R $DOCS "$work/man" "$work/completions" "$dir/"
	[ "$os" != linux ] || make --no-print-directory -s packages PROGRAM="$dir/ipfsmon" RUNS="$work/ipfsmon" ARCH="$arch" OUT="$out" VERSION="$VERSION"
	"$GO" run "$SBOM" bin -json -std -noserial -notimestamp -version "$VERSION" -output "$out/$name.cdx.json" "$dir/ipfsmon"
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w -C "$work" -cf - "$name" | gzip -n >"$out/$name.tar.gz"
	rm -r "$dir"
done
cd "$out"
sha256sum -- * >SHA256SUMS
cat SHA256SUMS
