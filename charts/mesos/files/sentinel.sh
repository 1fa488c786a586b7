#!/bin/sh
# Starts the Sentinel of this pod. What it learned is on the volume; what we decide is written anew at each start. The
# replicas are not kept: one of them may be the primary by now, and would be told to follow itself.
set -eu
. /scripts/redis-common.sh

learned="$(grep -E '^sentinel (myid|config-epoch|leader-epoch|current-epoch|known-sentinel) ' /data/sentinel.conf 2>/dev/null || true)"
primary="$(primary)"
{
    tls_lines
    echo "port 0"
    echo "tls-port 26379"
    # Whoever reaches a Sentinel may ask it who is the primary, and nothing else.
    echo "user default on nopass -@all +auth +hello +ping +sentinel|get-master-addr-by-name"
    echo "user internal on >$INTERNAL ~* &* +@all"
    echo "sentinel sentinel-user internal"
    echo "sentinel sentinel-pass $INTERNAL"
    echo "dir /run/redis"
    echo "sentinel resolve-hostnames yes"
    echo "sentinel announce-hostnames yes"
    echo "sentinel announce-ip $me"
    echo "sentinel announce-port 26379"
    echo "$learned" | grep '^sentinel myid ' || true
    echo "sentinel monitor mesos $primary 6379 $((SERVERS / 2 + 1))"
    echo "sentinel down-after-milliseconds mesos $((DOWN_AFTER * 1000))"
    echo "sentinel failover-timeout mesos $((DOWN_AFTER * 4000))"
    echo "sentinel parallel-syncs mesos 1"
    echo "sentinel auth-user mesos internal"
    echo "sentinel auth-pass mesos $INTERNAL"
    echo "$learned" | grep -v '^sentinel myid ' || true
} >/data/sentinel.conf.new
mv /data/sentinel.conf.new /data/sentinel.conf
exec redis-server /data/sentinel.conf --sentinel
