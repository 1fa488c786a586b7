set -eu
# An agent that does not answer cannot be drained: it and its tasks are over then.
mesos drain "$agent" --gone --grace "${timeout}s" --timeout "$((timeout + 5))s" || mesos agents gone "$agent"
