#!/bin/sh
# The start of PostgreSQL's image, as far as the stack uses it: the first time,
# the data folder and the database are made by POSTGRES_USER, POSTGRES_DB and
# POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, with a server that answers on its
# socket alone; then what was asked for runs.
set -eu

user=${POSTGRES_USER:-postgres}
mkdir -p "$PGDATA"
chmod 0700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); fi
	if [ -z "${POSTGRES_PASSWORD:-}" ]; then
		echo "postgres: want POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
		exit 1
	fi
	file=$(mktemp)
	printf '%s\n' "$POSTGRES_PASSWORD" >"$file"
	initdb -D "$PGDATA" -U "$user" --pwfile="$file" -E UTF8 --locale=C.UTF-8
	rm "$file"
	echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
	pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
	if [ "${POSTGRES_DB:-$user}" != postgres ]; then createdb -U "$user" "${POSTGRES_DB:-$user}"; fi
	pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
