#!/bin/sh
# Before this pod ends: if it is the primary, another server takes over first, so nothing waits until it is found missing.
. /scripts/redis-common.sh

is_primary() { [ "$(ask "$me" 6379 role | head -n 1)" = master ]; }

is_primary || exit 0
for server in $(servers); do
    [ "$server" != "$me" ] || continue
    [ "$(ask "$server" 26379 sentinel failover mesos)" = OK ] && break
done
left=20
while is_primary && [ "$left" -gt 0 ]; do
    sleep 0.5
    left=$((left - 1))
done
exit 0
