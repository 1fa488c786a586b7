#!/bin/sh
# Before this pod ends: if it is the primary, another server takes over first, with all that was ever committed, so nothing
# waits until it is found missing and nothing is lost.
. /scripts/redis-common.sh

# Tries a condition for so many seconds: await SECONDS COMMAND…
await() {
    until="$(($(date +%s) + $1))"
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$until" ] || return 1
        sleep 0.25
    done
}

replication() { ask "$me" 6379 info replication | tr -d '\r'; }

# All other servers have what this one had then: all_have OFFSET
all_have() {
    have="$(replication | sed -n 's/^slave[0-9]*:.*state=online,offset=\([0-9]*\),.*/\1/p')"
    count=0
    for offset in $have; do
        [ "$offset" -lt "$1" ] || count=$((count + 1))
    done
    [ "$count" -ge "$((SERVERS - 1))" ]
}

# A Sentinel answers, and none of those that do names this server.
is_followed() {
    named=
    for server in $(servers); do
        [ "$server" != "$me" ] || continue
        named="$named $(ask "$server" 26379 sentinel get-master-addr-by-name mesos | head -n 1)"
    done
    case "$named" in *"$me"*) return 1 ;; *.*) return 0 ;; *) return 1 ;; esac
}

# One Sentinel is asked, and once: two that do it at the same time, or one that does it twice, would take what is written
# in between from the first server that was chosen.
hand_over() {
    ! is_followed || return 0
    if [ -z "$asked" ]; then
        for server in $(servers); do
            [ "$server" != "$me" ] || continue
            case "$(ask "$server" 26379 sentinel failover mesos)" in
            OK) asked="$server" && break ;;
            *INPROG*) break ;;
            esac
        done
    fi
    return 1
}

# Redis does not end while it writes its first file after it was given all rows anew.
has_written() { ! ask "$me" 6379 info persistence | tr -d '\r' | grep -Eq '^aof_rewrite_(in_progress|scheduled):1$'; }

asked=
if [ "$(ask "$me" 6379 role | head -n 1)" = master ]; then
    # A server that has just started is given a moment; one that is away does not keep this one from leaving.
    await 8 all_have 0
    # From here on it refuses what the next primary would not have, also from those who have not heard that there is one. It
    # does not hold it back (CLIENT PAUSE): Sentinels publish on it, and would take it for dead.
    ask "$me" 6379 config set min-replicas-to-write "$((SERVERS + 1))" >/dev/null
    await 3 all_have "$(replication | sed -n 's/^master_repl_offset://p')"
    await 14 hand_over
fi
await 3 has_written
exit 0
