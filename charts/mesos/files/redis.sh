#!/bin/sh
# Starts the Redis of this pod: as the primary, or as a replica of it.
set -eu
. /scripts/redis-common.sh

{
    cat "$identity/redis-users.acl"
    echo "user internal on >$INTERNAL ~* &* +@all"
} >/run/redis/users.acl
{
    cat /scripts/redis.conf
    tls_lines
    echo "port 0"
    echo "tls-port 6379"
    echo "aclfile /run/redis/users.acl"
    echo "masteruser internal"
    echo "masterauth $INTERNAL"
    if [ "$SERVERS" -gt 1 ]; then
        echo "replica-announce-ip $me"
        echo "replica-announce-port 6379"
        # A primary that most others have left takes nothing more, which would be lost. Replicas are heard each second.
        echo "min-replicas-to-write $((SERVERS / 2))"
        echo "min-replicas-max-lag $((DOWN_AFTER + 1))"
        # So one that waits for an answer of a primary that is gone soon asks again.
        echo "repl-ping-replica-period 3"
        echo "repl-timeout 10"
        primary="$(primary)"
        [ "$primary" = "$me" ] || echo "replicaof $primary 6379"
    fi
} >/run/redis/redis.conf
exec redis-server /run/redis/redis.conf
