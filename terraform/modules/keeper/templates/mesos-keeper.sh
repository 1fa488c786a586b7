#!/bin/bash
# One look at the agents' Auto Scaling groups. An instance that starts gets a join token of its own, and is in service
# once its agent is in the cluster; one that AWS takes away goes when nothing runs on its agent any more. What is left
# to do is seen anew at each look, so that nothing is lost when the keeper is replaced.
set -euo pipefail
umask 077
# CLUSTER, REGION, AGENT_ROLE_ID, KMS_KEY, GRACE, and the client's MESOS_… are in the unit's environment.
readonly TOKEN_MINUTES=15 GIVEN=/run/mesos-keeper
export AWS_DEFAULT_REGION="$REGION"

groups="$(aws autoscaling describe-auto-scaling-groups --output json \
    --filters "Name=tag:mesos-cluster,Values=$CLUSTER" "Name=tag:mesos-role,Values=agent")"
agents="$(mesos agents -o json)"

agent_of() { # INSTANCE FIELD
    jq -r --arg instance "$1" --arg field "$2" \
        '[.[] | select(.attributes.instance == $instance)] | last | .[$field] // ""' <<<"$agents"
}

finish() { # GROUP INSTANCE HOOK
    aws autoscaling complete-lifecycle-action --auto-scaling-group-name "$1" --instance-id "$2" \
        --lifecycle-hook-name "$3" --lifecycle-action-result CONTINUE
}

admit() { # GROUP INSTANCE
    local parameter="/$CLUSTER/join/$2" token
    if [ "$(agent_of "$2" state)" = active ]; then
        aws ssm delete-parameter --name "$parameter" || true
        finish "$1" "$2" joined
        rm -f "$GIVEN/$2"
        echo "$2 is in service"
    elif [ -z "$(find "$GIVEN" -name "$2" -mmin "-$TOKEN_MINUTES")" ]; then
        # Nobody knows whether a token of a keeper before this one was used, so it is replaced.
        aws ssm delete-parameter --name "$parameter" 2>/dev/null || true
        token="$(mesos token create --agent --ttl "${TOKEN_MINUTES}min")"
        aws ssm put-parameter --name "$parameter" --type SecureString --key-id "$KMS_KEY" --value file:///dev/stdin \
            --tags "Key=for,Value=$AGENT_ROLE_ID:$2" "Key=mesos-cluster,Value=$CLUSTER" >/dev/null <<<"$token"
        touch "$GIVEN/$2"
        echo "$2 has a join token"
    fi
}

let_go() { # GROUP INSTANCE
    local agent state
    agent="$(agent_of "$2" id)"
    state="$(agent_of "$2" state)"
    case "$state" in
    "" | drained | gone)
        finish "$1" "$2" drained
        echo "$2 goes: nothing runs on it"
        return
        ;;
    draining) ;;
    unreachable) mesos agents gone "$agent" ;;
    *)
        mesos drain "$agent" --gone --no-wait --grace "$GRACE"
        echo "$2 goes: its agent $agent drains"
        ;;
    esac
    aws autoscaling record-lifecycle-action-heartbeat --auto-scaling-group-name "$1" --instance-id "$2" \
        --lifecycle-hook-name drained
}

failed=0
while read -r group instance state; do
    case "$state" in
    Pending:Wait) admit "$group" "$instance" || failed=1 ;;
    Terminating:Wait) let_go "$group" "$instance" || failed=1 ;;
    esac
done < <(jq -r '.AutoScalingGroups[] | .AutoScalingGroupName as $group | .Instances[] | "\($group) \(.InstanceId) \(.LifecycleState)"' <<<"$groups")
exit "$failed"
