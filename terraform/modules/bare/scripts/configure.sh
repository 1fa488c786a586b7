set -eu
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo="sudo -n"; fi
# Whatever is wrong with an option is said here, before anything that runs is touched.
if ! mesos "$role" --config "mesos-$role.yaml" --dump-config >/dev/null; then
    echo "${role}_options: see the line above; nothing was changed" >&2
    exit 1
fi
$sudo install -m 0640 -o root -g mesos "mesos-$role.yaml" "/etc/mesos/$role.yaml"
rm -f "mesos-$role.yaml"
$sudo systemctl enable --quiet "mesos-$role"
$sudo systemctl restart "mesos-$role"
