#!/bin/sh
# dpkg passes "remove" or "upgrade", rpm how many versions remain. An upgrade stops nothing here:
# the new version starts the service again.
set -e
case $1 in remove | 0) ;; *) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now ipfsmon.service
