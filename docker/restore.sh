#!/usr/bin/env bash
# Creates the stack's volumes from a backup of docker/backup.sh.
#
#	docker/restore.sh FOLDER && docker compose up -d
#
# The stack must be down (docker compose down), and the volumes must not exist: existing data is
# never overwritten. COMPOSE is the command, if it is another than "docker compose".
set -euo pipefail

read -ra compose <<<"${COMPOSE:-docker compose}"
fail() {
	echo "restore: $*" >&2
	exit 1
}
if [ $# -ne 1 ] || [[ $1 = -* ]]; then fail "want one argument, the folder that backup.sh wrote to: $0 FOLDER"; fi
shopt -s nullglob
files=("$1"/*.tar)
[ ${#files[@]} -gt 0 ] || fail "no .tar files in $1"
[ -z "$("${compose[@]}" ps -aq)" ] || fail "the stack has containers: end it first, ${compose[*]} down"
project=$("${compose[@]}" config | sed -n 's/^name: //p')
image=$("${compose[@]}" config --images influxdb | head -n 1)
volume() { docker volume ls -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.volume=$1"; }
for f in "${files[@]}"; do
	name=$(volume "$(basename "$f" .tar)")
	[ -z "$name" ] || fail "there is a volume $name: remove it first, docker volume rm $name"
done

# Creates the volumes as the project's.
"${compose[@]}" create
trap '"${compose[@]}" down' EXIT
for f in "${files[@]}"; do
	name=$(volume "$(basename "$f" .tar)")
	if [ -z "$name" ]; then
		echo "restore: these services have no such volume, left out: $f"
		continue
	fi
	docker run --rm -i --network none --read-only --user 0:0 --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER \
		-v "$name:/volume" --entrypoint tar "$image" -C /volume -xpf - <"$f" || fail "volume $name"
	echo "restore: $name"
done
