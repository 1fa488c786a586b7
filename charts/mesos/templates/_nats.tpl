{{/* nats.conf. */}}
{{- define "mesos.natsConfig" -}}
{{- $name := printf "%s-nats" (include "mesos.fullname" .) -}}
server_name: $POD_NAME
listen: "0.0.0.0:4222"
# For probes.
http: "0.0.0.0:8222"
tls {
  cert_file: /etc/mesos-identity/nats.crt
  key_file: /etc/mesos-identity/nats.key
}
# From the folder of this file.
include ../mesos-identity/nats-accounts.conf
{{- if gt (int .Values.nats.replicas) 1 }}
cluster {
  name: {{ $name }}
  listen: "0.0.0.0:6222"
  # Clients know all servers by name; the addresses that servers would tell them are in no certificate.
  no_advertise: true
  # Only who has a certificate of the cluster's CA is a server of it.
  tls {
    cert_file: /etc/mesos-identity/nats.crt
    key_file: /etc/mesos-identity/nats.key
    ca_file: /etc/mesos-identity/ca.crt
    verify: true
  }
  routes: [
    {{- range $at := until (int .Values.nats.replicas) }}
    nats://{{ $name }}-{{ $at }}.{{ $name }}-nodes.{{ $.Release.Namespace }}.svc:6222
    {{- end }}
  ]
}
{{- end }}
{{- end -}}
