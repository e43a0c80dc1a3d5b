#!/bin/sh
# What the service recorded, /var/lib/ipfsmon, and its user stay, also after a purge: the node's
# key is there.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
