# Run where Terraform runs: has a master make a one-time token, and puts it onto the agent's host.
set -eu
hosts="$(mktemp)"
trap 'rm -f "$hosts"' EXIT
checking=accept-new
if [ -n "$FROM_KEY" ] && [ -n "$TO_KEY" ]; then
    checking=yes
    printf '[%s]:%s %s\n[%s]:%s %s\n' "$FROM_HOST" "$FROM_PORT" "$FROM_KEY" "$TO_HOST" "$TO_PORT" "$TO_KEY" >"$hosts"
    # A port of 22 is not written.
    sed -i 's/^\[\([^]]*\)\]:22 /\1 /' "$hosts"
fi
on() {
    port=$1 host=$2
    shift 2
    ssh ${SSH_KEY:+-i "$SSH_KEY" -o IdentitiesOnly=yes} -p "$port" -l "$SSH_USER" -o BatchMode=yes -o ConnectTimeout=30 \
        -o StrictHostKeyChecking="$checking" -o UserKnownHostsFile="$hosts" -o LogLevel=ERROR "$host" "$@"
}
token="$(printf '%s\n%s\n' "$ASK" 'mesos token create --agent -o quiet' | on "$FROM_PORT" "$FROM_HOST" sh -eu)"
[ -n "$token" ] || { echo "the master made no token for joining" >&2 && exit 1; }
if [ "$SSH_USER" = root ]; then sudo=; else sudo="sudo -n"; fi
echo "$token" | on "$TO_PORT" "$TO_HOST" "$sudo install -m 0600 /dev/stdin /etc/mesos/pki/join-token"
