{{/* Where NATS and Redis are, what the services are told, which Secrets hold what. */}}

{{/* The Secret that holds a file of `mesos pki init`. Called with (list $ "file"). */}}
{{- define "mesos.secretOf" -}}
{{- $ := index . 0 -}}
{{- $file := index . 1 -}}
{{- $of := dict "ca.crt" "ca" "ca.key" "ca-key" "gateway.crt" "gateway" "gateway.key" "gateway" "token.key" "tokens"
    "nats-account.seed" "tokens" "control.creds" "control" "redis-password" "control" "operator.token" "operator"
    "nats.crt" "nats" "nats.key" "nats" "nats-accounts.conf" "nats" "redis.crt" "redis" "redis.key" "redis"
    "redis-users.acl" "redis" -}}
{{- printf "%s-%s" (default (include "mesos.fullname" $) $.Values.tls.secretPrefix) (get $of $file) -}}
{{- end -}}

{{/* A source of a projected volume for a file of `mesos pki init`. Called with (list $ "file"). */}}
{{- define "mesos.file" -}}
secret:
  name: {{ include "mesos.secretOf" . }}
  items: [{key: {{ index . 1 }}, path: {{ index . 1 }}}]
{{- end -}}

{{/* A volume with such files. Called with (list $ "file" …). */}}
{{- define "mesos.files" -}}
{{- $ := index . 0 -}}
projected:
  defaultMode: 0440
  sources:
    {{- range rest . }}
    - {{- include "mesos.file" (list $ .) | nindent 6 }}
    {{- end }}
{{- end -}}

{{- define "mesos.natsUrl" -}}
{{- if .Values.nats.bundled -}}
{{- $name := printf "%s-nats" (include "mesos.fullname" .) -}}
{{- $urls := list -}}
{{- range $at := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "tls://%s-%d.%s-nodes.%s.svc:4222" $name $at $name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $urls -}}
{{- else -}}
{{- .Values.nats.external.url -}}
{{- end -}}
{{- end -}}

{{- define "mesos.redisUrl" -}}
{{- if .Values.redis.bundled -}}
{{- $name := printf "%s-redis" (include "mesos.fullname" .) -}}
{{- if gt (int .Values.redis.replicas) 1 -}}
{{- $hosts := list -}}
{{- range $at := until (int .Values.redis.replicas) -}}
{{- $hosts = append $hosts (printf "%s-%d.%s-nodes.%s.svc:26379" $name $at $name $.Release.Namespace) -}}
{{- end -}}
{{- printf "rediss+sentinel://%s/mesos" (join "," $hosts) -}}
{{- else -}}
{{- printf "rediss://%s-0.%s-nodes.%s.svc:6379" $name $name .Release.Namespace -}}
{{- end -}}
{{- else -}}
{{- .Values.redis.external.url -}}
{{- end -}}
{{- end -}}

{{/* The options of a service that name a file in /etc/mesos-identity, each with the file's name, Secret and key there.
     Called with (list $ "component"). */}}
{{- define "mesos.identity" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $found := dict -}}
{{- $own := dict -}}
{{- if $.Values.nats.bundled -}}
{{- $own = merge $own (dict "nats-credentials" "control.creds" "nats-ca" "ca.crt") -}}
{{- end -}}
{{- if $.Values.redis.bundled -}}
{{- $own = merge $own (dict "redis-password-file" "redis-password" "redis-ca" "ca.crt") -}}
{{- end -}}
{{- if eq $component "gateway" -}}
{{- $own = merge $own (dict "tls-cert" "gateway.crt" "tls-key" "gateway.key" "ca-cert" "ca.crt" "ca-key" "ca.key" "token-key" "token.key") -}}
{{- if $.Values.nats.bundled -}}
{{- $_ := set $own "nats-account-seed" "nats-account.seed" -}}
{{- end -}}
{{- end -}}
{{- range $option, $file := $own -}}
{{- $_ := set $found $option (dict "file" $file "secret" (include "mesos.secretOf" (list $ $file)) "key" $file) -}}
{{- end -}}
{{- $external := dict -}}
{{- if not $.Values.nats.bundled -}}
{{- $external = dict "nats-credentials" $.Values.nats.external.credentials "nats-ca" $.Values.nats.external.ca -}}
{{- end -}}
{{- if not $.Values.redis.bundled -}}
{{- $external = merge $external (dict "redis-password-file" $.Values.redis.external.password "redis-ca" $.Values.redis.external.ca) -}}
{{- end -}}
{{- range $option, $from := $external -}}
{{- if $from.secret -}}
{{- $_ := set $found $option (dict "file" (printf "external-%s" $option) "secret" $from.secret "key" $from.key) -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* The config file of a service, as a dictionary in YAML. Called with (list $ "component"). */}}
{{- define "mesos.config" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $own := dict "cluster" $.Values.cluster "log-level" $.Values.log.level "log-format" $.Values.log.format -}}
{{- with $.Values.tracing.endpoint }}{{ $_ := set $own "otlp-endpoint" . }}{{ end -}}
{{- if ne $component "agent" -}}
{{- $_ := set $own "nats-url" (include "mesos.natsUrl" $) -}}
{{- $_ := set $own "redis-url" (include "mesos.redisUrl" $) -}}
{{- $_ := set $own "wait" true -}}
{{- range $option, $from := include "mesos.identity" (list $ $component) | fromYaml -}}
{{- $_ := set $own $option (printf "/etc/mesos-identity/%s" $from.file) -}}
{{- end -}}
{{- with ternary "mesos" $.Values.redis.external.username $.Values.redis.bundled -}}
{{- $_ := set $own "redis-username" . -}}
{{- end -}}
{{- end -}}
{{- if eq $component "gateway" -}}
{{- $_ := set $own "ip" "0.0.0.0" -}}
{{- $_ := set $own "port" 5050 -}}
{{- $_ := set $own "hostname" (default (printf "%s-gateway.%s.svc" (include "mesos.fullname" $) $.Release.Namespace) $.Values.gateway.hostname) -}}
{{- else if eq $component "agent" -}}
{{- $_ := set $own "master" (printf "https://%s-gateway.%s.svc:%d" (include "mesos.fullname" $) $.Release.Namespace (int $.Values.gateway.service.port)) -}}
{{- $_ := set $own "ca-cert" "/etc/mesos-identity/ca.crt" -}}
{{- $_ := set $own "join-token-file" "/run/mesos-join/token" -}}
{{- $_ := set $own "work-dir" $.Values.agent.workDir -}}
{{- $_ := set $own "wait" true -}}
{{- $_ := set $own "containerizers" (ternary "mesos,docker" "mesos" (ne $.Values.agent.dockerSocket "")) -}}
{{- else -}}
{{- $_ := set $own "http-addr" "0.0.0.0:9090" -}}
{{- end -}}
{{- toYaml (merge (deepCopy (get $.Values $component).options) $own) -}}
{{- end -}}
