set -eu
# An agent counts when the cluster says that it is active.
tries=0
until mesos agents 2>/dev/null | awk -v name="$agent" '$2 == name && $3 == "active" { found = 1 } END { exit !found }'; do
    tries=$((tries + 1))
    if [ "$tries" -ge 120 ]; then
        echo "the agent $agent has not joined within 60 s; on its host, journalctl -u mesos-agent says why. The cluster has:" >&2
        mesos agents >&2
        exit 1
    fi
    sleep 0.5
done
