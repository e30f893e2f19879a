{{/* Name of all objects: the release's, with the chart's unless it says the same already. */}}
{{- define "worker-agents.fullname" -}}
{{- $name := include "worker-agents.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default ($full | replace "." "-") .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "worker-agents.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "worker-agents.doctorName" -}}
{{ include "worker-agents.name" . }}-doctor
{{- end -}}

{{- define "worker-agents.selectorLabels" -}}
app.kubernetes.io/name: {{ include "worker-agents.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "worker-agents.labels" -}}
{{ include "worker-agents.labelsWith" (list . dict) }}
{{- end -}}

{{/* Labels of an object, with some of its own: (list root labels). Each once, and none of yours in place of those that select. */}}
{{- define "worker-agents.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $usual := dict
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "app.kubernetes.io/part-of" "worker-agents"
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
-}}
{{ merge (include "worker-agents.selectorLabels" $root | fromYaml) (index . 1 | default dict) ($root.Values.commonLabels | default dict) $usual | toYaml }}
{{- end -}}

{{/* Labels of the workers' pods. None that changes with the chart's version: pods would roll for nothing. */}}
{{- define "worker-agents.podLabels" -}}
{{ merge (include "worker-agents.selectorLabels" . | fromYaml) (.Values.podLabels | default dict) (.Values.commonLabels | default dict) | toYaml }}
{{- end -}}

{{- define "worker-agents.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "worker-agents.serviceAccountName" -}}
{{- default (ternary (include "worker-agents.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Pods of this release by name, for queries of Prometheus. Of a long name Kubernetes drops the second dash. */}}
{{- define "worker-agents.podPattern" -}}
{{ include "worker-agents.fullname" . }}-[0-9a-z]+(-[0-9a-z]+)?
{{- end -}}
