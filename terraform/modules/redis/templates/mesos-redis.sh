#!/bin/bash
# Runs the Redis or the Sentinel of this host, whichever of the servers is the primary just now.
#
#   mesos-redis server | sentinel    becomes it
#   mesos-redis leave                has another server take over from this one, before it ends
#   mesos-redis reload               takes up users and certificates that have changed
set -euo pipefail
umask 077
# shellcheck source=/dev/null
. /etc/mesos-redis/env # ME, SERVERS
read -r -a all <<<"$SERVERS"
readonly FILES=/etc/mesos-redis DATA=/var/lib/redis

# Servers and Sentinels know each other by this user; its password is known to who has the servers' key.
internal="$(sha256sum <"$FILES/redis.key" | cut -d ' ' -f 1)"
export REDISCLI_AUTH="$internal"

ask() { # HOST PORT COMMAND…
    local host=$1 port=$2
    shift 2
    timeout 2 redis-cli -h "$host" -p "$port" --tls --cacert "$FILES/ca.crt" --user internal --no-auth-warning "$@" 2>/dev/null
}

# The primary that another Sentinel names; else the one that ours knew last; else, at the very first start, the first.
primary() {
    local server found
    for server in $SERVERS; do
        [ "$server" != "$ME" ] || continue
        found="$(ask "$server" 26379 sentinel get-master-addr-by-name mesos | head -n 1 || true)"
        case "$found" in *.*) echo "$found" && return ;; esac
    done
    found="$(sed -n 's/^sentinel monitor mesos "\{0,1\}\([^ "]*\)"\{0,1\} .*/\1/p' "$DATA/sentinel.conf" 2>/dev/null || true)"
    if [ -n "$found" ]; then echo "$found"; else echo "${SERVERS%% *}"; fi
}

tls() {
    cat <<END
port 0
tls-port $1
tls-cert-file $FILES/redis.crt
tls-key-file $FILES/redis.key
tls-ca-cert-file $FILES/ca.crt
tls-auth-clients no
tls-replication yes
END
}

users() {
    grep -v '^user internal ' "$FILES/redis-users.acl"
    echo "user internal on >$internal ~* &* +@all"
}

server() {
    local memory primary
    # A quarter is left for the fork that rewrites the append-only file, and for the host.
    memory="$(awk '/^MemTotal:/ { print int($2 * 3 / 4) }' /proc/meminfo)"
    users >"$DATA/users.acl"
    {
        tls 6379
        cat <<END
dir $DATA
aclfile $DATA/users.acl
masteruser internal
masterauth $internal
replica-announce-ip $ME
replica-announce-port 6379
appendonly yes
appendfsync everysec
save ""
maxmemory ${memory}kb
maxmemory-policy noeviction
repl-diskless-sync yes
repl-diskless-sync-delay 0
END
        # A primary that most others have left takes nothing more, which would be lost. Replicas are heard each second.
        # One that waits for an answer of a primary that is gone soon asks again.
        [ "${#all[@]}" -eq 1 ] || cat <<END
min-replicas-to-write $((${#all[@]} / 2))
min-replicas-max-lag 6
repl-ping-replica-period 3
repl-timeout 10
END
        primary="$(primary)"
        [ "$primary" = "$ME" ] || echo "replicaof $primary 6379"
    } >"$DATA/redis.conf"
    exec redis-server "$DATA/redis.conf"
}

# Replicas that it knew are not kept: one of them may be the primary by now, and would be told to follow itself.
sentinel() {
    local learned primary
    learned="$(grep -E '^sentinel (myid|config-epoch|leader-epoch|current-epoch|known-sentinel) ' "$DATA/sentinel.conf" 2>/dev/null || true)"
    primary="$(primary)"
    {
        tls 26379
        cat <<END
dir /tmp
user default on nopass -@all +auth +hello +ping +info +client|setname +client|setinfo +sentinel|get-master-addr-by-name
user internal on >$internal ~* &* +@all
sentinel sentinel-user internal
sentinel sentinel-pass $internal
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $ME
sentinel announce-port 26379
END
        grep '^sentinel myid ' <<<"$learned" || true
        cat <<END
sentinel monitor mesos $primary 6379 $((${#all[@]} / 2 + 1))
sentinel down-after-milliseconds mesos 5000
sentinel failover-timeout mesos 20000
sentinel parallel-syncs mesos 1
sentinel auth-user mesos internal
sentinel auth-pass mesos $internal
END
        grep -v '^sentinel myid ' <<<"$learned" || true
    } >"$DATA/sentinel.conf.new"
    mv "$DATA/sentinel.conf.new" "$DATA/sentinel.conf"
    exec redis-server "$DATA/sentinel.conf" --sentinel
}

# --- leave: the same as redis-leave.sh of the chart --------------------------------------------------------------------

# No other Sentinel answers: all end together, and there is nobody to take over.
is_alone() {
    local server
    for server in "${all[@]}"; do
        [ "$server" = "$ME" ] || [ "$(ask "$server" 26379 ping)" != PONG ] || return 1
    done
}

await() { # SECONDS COMMAND…
    local until=$((SECONDS + $1))
    shift
    until "$@" || is_alone; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.25
    done
}

replication() { ask "$ME" 6379 info replication | tr -d '\r'; }

# All other servers have what this one had then.
all_have() { # OFFSET
    local offset count=0
    for offset in $(replication | sed -n 's/^slave[0-9]*:.*state=online,offset=\([0-9]*\),.*/\1/p'); do
        [ "$offset" -lt "$1" ] || count=$((count + 1))
    done
    [ "$count" -ge "$((${#all[@]} - 1))" ]
}

# A Sentinel answers, and none of those that do names this server.
is_followed() {
    local server named=
    for server in "${all[@]}"; do
        [ "$server" != "$ME" ] || continue
        named+=" $(ask "$server" 26379 sentinel get-master-addr-by-name mesos | head -n 1) "
    done
    case "$named" in *" $ME "*) return 1 ;; *.*) return 0 ;; *) return 1 ;; esac
}

# A Sentinel sees all other servers: one that does not would leave some of them without a primary. It is the one to ask.
is_seen() {
    local server seen
    for server in "${all[@]}"; do
        [ "$server" != "$ME" ] || continue
        seen="$(ask "$server" 26379 sentinel replicas mesos | sed -n '/^flags$/{n;p;}' | grep -c '^slave$' || true)"
        [ "$seen" -lt "$((${#all[@]} - 1))" ] || via="$server"
    done
    [ -n "$via" ]
}

# That one is asked, or else the first that can, and once: two that do it at the same time, or one that does it twice, would
# take what is written in between from the first server that was chosen.
hand_over() {
    local server
    ! is_followed || return 0
    [ -z "$asked" ] || return 1
    for server in $via "${all[@]}"; do
        [ "$server" != "$ME" ] || continue
        case "$(ask "$server" 26379 sentinel failover mesos || true)" in
        OK) asked=yes && break ;;
        *INPROG*) break ;;
        esac
    done
    return 1
}

# Redis does not end while it writes its first file after it was given all rows anew.
has_written() { ! ask "$ME" 6379 info persistence | tr -d '\r' | grep -Eq '^aof_rewrite_(in_progress|scheduled):1$'; }

leave() {
    via='' asked=''
    set +e
    if [ "${#all[@]}" -gt 1 ] && [ "$(ask "$ME" 6379 role | head -n 1)" = master ]; then
        # A server that has just started is given a moment; one that is away does not keep this one from leaving.
        await 20 is_seen
        await 5 all_have 0
        # From here on it refuses what the next primary would not have.
        ask "$ME" 6379 config set min-replicas-to-write "$((${#all[@]} + 1))" >/dev/null
        await 3 all_have "$(replication | sed -n 's/^master_repl_offset://p')"
        await 15 hand_over
    fi
    await 3 has_written
    return 0
}

# Redis reads certificates again when it is told their names again. With a new key the servers know each other by a new
# password, which only a restart takes up everywhere: one server after another, by hand.
reload() {
    systemctl -q is-active mesos-redis.service || exit 0
    users >"$DATA/users.acl"
    chown redis:redis "$DATA/users.acl"
    local known
    known="$(sed -n 's/^masterauth //p' "$DATA/redis.conf" | tr -d '"')"
    REDISCLI_AUTH="$known" ask "$ME" 6379 acl load
    REDISCLI_AUTH="$known" ask "$ME" 6379 config set tls-cert-file "$FILES/redis.crt" tls-key-file "$FILES/redis.key" tls-ca-cert-file "$FILES/ca.crt"
}

case "${1:-}" in
server | sentinel | leave | reload) "$1" ;;
*) echo "use: mesos-redis server | sentinel | leave | reload" >&2 && exit 2 ;;
esac
