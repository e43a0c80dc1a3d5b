#!/usr/bin/env bash
# Copies the data that the stack cannot recreate into a folder: InfluxDB's, Grafana's and
# PostgreSQL's data and the secrets, a tar file for each volume.
#
#	docker/backup.sh FOLDER           --node: also the node's repository, or the light node's key and data
#	docker/restore.sh FOLDER
#
# The databases and Grafana are stopped while they are copied; the node and the probe continue,
# and their points wait on disk (with --node the node is stopped too). The secret that today's
# pseudonyms are made with is left out: docs/privacy.md. COMPOSE is the command, if it is
# another than "docker compose".
set -euo pipefail
umask 077

read -ra compose <<<"${COMPOSE:-docker compose}"
fail() {
	echo "backup: $*" >&2
	exit 1
}
volumes=(influxdb-data grafana-data postgres-data secrets-admin secrets-node secrets-grafana secrets-nginx secrets-probe secrets-broker)
if [ "${1:-}" = --node ]; then
	volumes+=(node-data watch-data)
	shift
fi
if [ $# -ne 1 ] || [[ $1 = -* ]]; then fail "want one argument, the folder to write to: $0 [--node] FOLDER"; fi
mkdir -p "$1"
folder=$1

project=$("${compose[@]}" config | sed -n 's/^name: //p')
image=$("${compose[@]}" config --images influxdb | head -n 1)
writers='influxdb|grafana|postgres'
if [[ ${volumes[*]} = *node-data* ]]; then writers+='|node|watch'; fi
mapfile -t running < <("${compose[@]}" --profile '*' ps --services --status running | grep -xE "$writers" || true)
# Always restart the services that were running.
start() { [ ${#running[@]} -eq 0 ] || "${compose[@]}" --profile '*' start "${running[@]}"; }
trap start EXIT
[ ${#running[@]} -eq 0 ] || "${compose[@]}" --profile '*' stop "${running[@]}"

for v in "${volumes[@]}"; do
	name=$(docker volume ls -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.volume=$v")
	if [ -z "$name" ]; then
		echo "backup: there is no volume $v, it is left out"
		continue
	fi
	# Move into place once complete.
	docker run --rm --network none --read-only --user 0:0 --cap-drop ALL --cap-add DAC_READ_SEARCH \
		-v "$name:/volume:ro" --entrypoint tar "$image" -C /volume --exclude='pseudonym.key*' -cf - . >"$folder/$v.tar.new"
	mv "$folder/$v.tar.new" "$folder/$v.tar"
	echo "backup: $folder/$v.tar, $(stat -c %s "$folder/$v.tar") bytes"
done
