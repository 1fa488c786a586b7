#!/bin/sh
# Exits with 0 if the server or Sentinel on this port serves: redis-ready.sh PORT
. /scripts/redis-common.sh
[ "$(ask "$me" "$1" ping)" = PONG ]
