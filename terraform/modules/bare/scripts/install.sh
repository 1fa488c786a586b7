set -eu
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo="sudo -n"; fi
# An operator's changes to files below /etc/mesos are kept; the next step writes those that are managed.
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --allow-downgrades \
    --option Dpkg::Options::=--force-confdef --option Dpkg::Options::=--force-confold ./mesos.deb
rm -f mesos.deb
mesos version
