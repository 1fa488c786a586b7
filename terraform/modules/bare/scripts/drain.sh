set -eu
mesos drain "$agent" --gone --grace "${timeout}s" --timeout "$((timeout + 30))s"
