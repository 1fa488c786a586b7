set -eu
if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
    echo "ssh_user: $(id -un) is not root and may not use sudo without a password" >&2
    exit 1
fi
if ! command -v dpkg >/dev/null || ! [ -d /run/systemd/system ]; then
    echo "hosts: $(hostname) is no Debian-like system with systemd, which the package is for" >&2
    exit 1
fi
