# What commands need that ask the cluster, on a master: its address, its CA, and a token of a quarter of an hour.
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo="sudo -n"; fi
MESOS_MASTER="$master" MESOS_CA_CERT=/etc/mesos/pki/ca.crt
MESOS_TOKEN="$($sudo mesos token create --subject terraform --role operator --ttl 15min --token-key /etc/mesos/pki/token.key)"
export MESOS_MASTER MESOS_CA_CERT MESOS_TOKEN
