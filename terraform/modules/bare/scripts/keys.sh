set -eu
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo="sudo -n"; fi
# Certificates are for everybody, keys for root and the services.
put() {
    case "$1" in
    *.crt) mode=0644 ;;
    *) mode=0640 ;;
    esac
    echo "$2" | base64 -d | $sudo install -m "$mode" -o root -g mesos /dev/stdin "/etc/mesos/pki/$1"
}
. ./mesos-keys
rm -f mesos-keys
