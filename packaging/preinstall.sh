#!/bin/sh
# Before the files of the package are there: the user of the service, to whom some belong.
set -e
if ! getent passwd ipfsmon >/dev/null; then
	getent group ipfsmon >/dev/null || groupadd --system ipfsmon
	useradd --system --gid ipfsmon --home-dir /var/lib/ipfsmon --no-create-home --shell /usr/sbin/nologin --comment "ipfsmon" ipfsmon
fi
