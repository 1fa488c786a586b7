#!/bin/sh
# Before this pod ends: if it is the primary, another server takes over first, so nothing waits until it is found missing.
. /scripts/redis-common.sh

left=20
while [ "$(ask "$me" 6379 role | head -n 1)" = master ] && [ "$left" -gt 0 ]; do
    for server in $(servers); do
        # One that is asked again while it does so refuses, which is as good.
        [ "$server" = "$me" ] || [ "$(ask "$server" 26379 sentinel failover mesos)" != OK ] || break
    done
    sleep 0.5
    left=$((left - 1))
done
exit 0
