set -eu
tries=0
until refusal="$(mesos stats 2>&1 >/dev/null)"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 120 ]; then
        echo "$refusal" >&2
        $sudo journalctl --unit mesos-master --lines 20 --no-pager >&2
        exit 1
    fi
    sleep 0.5
done
