#!/bin/sh
# Exits with 0 if the server or Sentinel on this port serves, a replica with all that its primary has: redis-ready.sh PORT
. /scripts/redis-common.sh
[ "$(ask "$me" "$1" ping)" = PONG ] || exit 1
[ "$1" = 6379 ] || exit 0
ask "$me" 6379 info replication | tr -d '\r' | grep -Eq '^(role:master|master_link_status:up)$'
