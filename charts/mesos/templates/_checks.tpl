{{/* What no schema can say. Included by the first object that every installation has. */}}
{{- define "mesos.checks" -}}
{{- with .Values.gateway.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "gateway.autoscaling.minReplicas (%d) is above gateway.autoscaling.maxReplicas (%d); raise the one or lower the other" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.service.nodePort (eq .Values.gateway.service.type "ClusterIP") -}}
{{- fail "gateway.service.nodePort is set, but gateway.service.type is ClusterIP, which has none; set the type to NodePort or LoadBalancer" -}}
{{- end -}}
{{- end -}}
