{{/* Name of all objects: the release's, with the chart's unless it says the same already. */}}
{{- define "worker-agents.fullname" -}}
{{- $name := include "worker-agents.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "worker-agents.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "worker-agents.doctorName" -}}
{{ include "worker-agents.name" . }}-doctor
{{- end -}}

{{- define "worker-agents.selectorLabels" -}}
app.kubernetes.io/name: {{ include "worker-agents.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "worker-agents.labels" -}}
{{ include "worker-agents.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: worker-agents
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
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

{{/* Pods of this release by name, for queries of Prometheus. */}}
{{- define "worker-agents.podPattern" -}}
{{ include "worker-agents.fullname" . }}-[0-9a-z]+-[0-9a-z]+
{{- end -}}
