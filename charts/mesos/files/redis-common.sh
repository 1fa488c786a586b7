# What the scripts of a Redis pod share. POD_NAME, SERVICE (the pods' domain) and SERVERS come from the pod.
umask 077
identity=/etc/mesos-identity
me="$POD_NAME.$SERVICE"

# Servers and Sentinels know each other by this user; its password is known to who has the servers' key.
INTERNAL="$(sha256sum <"$identity/redis.key" | cut -d ' ' -f 1)"
REDISCLI_AUTH="$INTERNAL"
export REDISCLI_AUTH

# Asks a server or a Sentinel: ask HOST PORT COMMAND…
ask() {
    host="$1" port="$2"
    shift 2
    timeout 2 redis-cli -h "$host" -p "$port" --tls --cacert "$identity/ca.crt" --user internal "$@" 2>/dev/null
}

# The lines of a config by which a server or a Sentinel speaks TLS, with its peers too.
tls_lines() {
    cat <<END
tls-cert-file $identity/redis.crt
tls-key-file $identity/redis.key
tls-ca-cert-file $identity/ca.crt
tls-auth-clients no
tls-replication yes
END
}

# All servers by name.
servers() {
    at=0
    while [ "$at" -lt "$SERVERS" ]; do
        echo "${POD_NAME%-*}-$at.$SERVICE"
        at=$((at + 1))
    done
}

# The primary that the Sentinels agree on; the one that this pod's Sentinel knew last, if none answers; the first server
# on a first start.
primary() {
    for server in $(servers); do
        [ "$server" != "$me" ] || continue
        found="$(ask "$server" 26379 sentinel get-master-addr-by-name mesos | head -n 1)"
        case "$found" in *.*) echo "$found" && return ;; esac
    done
    found="$(sed -n 's/^sentinel monitor mesos \([^ ]*\) .*/\1/p' /data/sentinel.conf 2>/dev/null)"
    if [ -n "$found" ]; then echo "$found"; else servers | head -n 1; fi
}
