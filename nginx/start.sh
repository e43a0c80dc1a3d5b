#!/bin/sh
# Starts nginx with the name servers that its container was given: Docker's own
# is 127.0.0.11, Podman's is the network's gateway. The arguments are nginx's.
set -eu
servers=$(awk '$1 == "nameserver" && $2 !~ /%/ { print $2 ~ /:/ ? "[" $2 "]" : $2 }' /etc/resolv.conf | tr '\n' ' ')
if [ -z "$servers" ]; then
	echo "start.sh: /etc/resolv.conf names no server; nginx will not find Grafana and InfluxDB" >&2
	servers="127.0.0.11 "
fi
echo "resolver ${servers}valid=10s;" >/tmp/resolver.conf
exec nginx "$@"
