#!/bin/sh
# Before this pod ends: if it is the primary, another server takes over first, with all that was ever committed, so nothing
# waits until it is found missing and nothing is lost.
. /scripts/redis-common.sh

# No other Sentinel answers: all end together, and there is nobody to take over.
is_alone() {
    for server in $(servers); do
        [ "$server" = "$me" ] || [ "$(ask "$server" 26379 ping)" != PONG ] || return 1
    done
}

# Tries a condition for so many seconds: await SECONDS COMMAND…
await() {
    until="$(($(date +%s) + $1))"
    shift
    until "$@" || is_alone; do
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

# A Sentinel sees all other servers: one that does not would leave some of them without a primary. It is the one to ask.
is_seen() {
    for server in $(servers); do
        [ "$server" != "$me" ] || continue
        seen="$(ask "$server" 26379 sentinel replicas mesos | sed -n '/^flags$/{n;p;}' | grep -c '^slave$')"
        [ "$seen" -lt "$((SERVERS - 1))" ] || via="$server"
    done
    [ -n "$via" ]
}

# That one is asked, or else the first that can, and once: two that do it at the same time, or one that does it twice, would
# take what is written in between from the first server that was chosen.
hand_over() {
    ! is_followed || return 0
    [ -z "$asked" ] || return 1
    for server in $via $(servers); do
        [ "$server" != "$me" ] || continue
        case "$(ask "$server" 26379 sentinel failover mesos)" in
        OK) asked=yes && break ;;
        *INPROG*) break ;;
        esac
    done
    return 1
}

# Redis does not end while it writes its first file after it was given all rows anew.
has_written() { ! ask "$me" 6379 info persistence | tr -d '\r' | grep -Eq '^aof_rewrite_(in_progress|scheduled):1$'; }

via=
asked=
if [ "$(ask "$me" 6379 role | head -n 1)" = master ]; then
    # A server that has just started is given a moment; one that is away does not keep this one from leaving.
    await 20 is_seen
    await 5 all_have 0
    # From here on it refuses what the next primary would not have, also from those who have not heard that there is one. It
    # does not hold it back (CLIENT PAUSE): Sentinels publish on it, and would take it for dead.
    ask "$me" 6379 config set min-replicas-to-write "$((SERVERS + 1))" >/dev/null
    await 3 all_have "$(replication | sed -n 's/^master_repl_offset://p')"
    await 15 hand_over
fi
await 3 has_written
exit 0
