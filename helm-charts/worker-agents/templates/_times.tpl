{{/* KAFKA_SESSION_TIMEOUT_SECONDS, with the worker's default. */}}
{{- define "worker-agents.sessionSeconds" -}}
{{ default 45 .Values.config.kafka.sessionTimeoutSeconds }}
{{- end -}}

{{/* Seconds between asking a task to stop and killing it, as settings.py derives them. */}}
{{- define "worker-agents.killGraceSeconds" -}}
{{- if kindIs "invalid" .Values.config.killGraceSeconds -}}
{{ min 5 (divf (include "worker-agents.sessionSeconds" . | float64) 6) }}
{{- else -}}
{{ .Values.config.killGraceSeconds }}
{{- end -}}
{{- end -}}

{{/* A pod must have more than this to stop: the drain, the end of what runs, the hand-over. */}}
{{- define "worker-agents.leastGraceSeconds" -}}
{{- $drain := kindIs "invalid" .Values.config.drainTimeoutSeconds | ternary 30 .Values.config.drainTimeoutSeconds -}}
{{ addf $drain (include "worker-agents.killGraceSeconds" . | float64) 30 | ceil | int64 }}
{{- end -}}

{{- define "worker-agents.terminationGracePeriodSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{ addf (include "worker-agents.leastGraceSeconds" . | float64) 30 | int64 }}
{{- else -}}
{{ .Values.terminationGracePeriodSeconds }}
{{- end -}}
{{- end -}}
