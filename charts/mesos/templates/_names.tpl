{{/* Names, labels, images. */}}

{{- define "mesos.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that a component's pods are found by; they never change. Called with (list $ "component"). */}}
{{- define "mesos.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ default $.Chart.Name $.Values.nameOverride }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object. Called with (list $ "component"). */}}
{{- define "mesos.labels" -}}
{{- $ := index . 0 -}}
{{ include "mesos.selector" . }}
app.kubernetes.io/part-of: mesos
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The head of an object. Called with (list $ "component" "name"). */}}
{{- define "mesos.metadata" -}}
{{- $ := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "mesos.labels" (list $ (index . 1)) | nindent 2 }}
{{- end -}}

{{/* The head of a pod. It has no version of the chart, so that an upgrade restarts what changes and nothing else.
     Called with (list $ "component" $values). */}}
{{- define "mesos.podLabels" -}}
{{- $ := index . 0 -}}
{{ include "mesos.selector" (list $ (index . 1)) }}
{{- with (index . 2).podLabels }}
{{ toYaml . }}
{{- end }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mesos.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Placement of pods. Called with (list $ "component" $values). */}}
{{- define "mesos.placement" -}}
{{- $ := index . 0 -}}
{{- $values := index . 2 -}}
{{- $labels := include "mesos.selector" (list $ (index . 1)) -}}
{{- with $values.spread }}
{{- if ne . "off" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
{{- end }}
{{- end }}
{{- $affinity := deepCopy $values.affinity -}}
{{- $apart := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (fromYaml $labels)) -}}
{{- $more := dict -}}
{{- if eq (default "off" $values.spread) "hard" }}
{{- $more = dict "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $apart)) -}}
{{- else if eq (default "off" $values.spread) "soft" }}
{{- $more = dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $apart))) -}}
{{- end }}
{{- with merge $affinity $more }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A pod that knows nothing of Kubernetes: no token, and no variables of Services (one of a Service named mesos would be
     read as an option). */}}
{{- define "mesos.noAccess" -}}
serviceAccountName: {{ include "mesos.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- end -}}

{{/* A pod's part of the pod security that is called restricted. Called with the uid. */}}
{{- define "mesos.restrictedPod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "mesos.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
