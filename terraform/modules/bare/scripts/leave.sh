set -eu
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo="sudo -n"; fi
if dpkg-query --show mesos >/dev/null 2>&1; then
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get purge --yes --quiet mesos
fi
