{{/* Which variable each secret is, by its name in the values. */}}
{{- define "worker-agents.secretVariables" -}}
argoCdToken: ARGOCD_TOKEN
codeForgeToken: CODE_FORGE_TOKEN
opaToken: OPA_TOKEN
trivyServerToken: TRIVY_SERVER_TOKEN
gitToken: GIT_TOKEN
kafkaSaslPassword: KAFKA_SASL_PASSWORD
vaultToken: VAULT_TOKEN
adminToken: ADMIN_TOKEN
otelHeaders: OTEL_EXPORTER_OTLP_HEADERS
{{- end -}}

{{/* Where each secret that is set comes from, by its variable: {secret: name, key: key}. */}}
{{- define "worker-agents.secretSources" -}}
{{- range $name, $variable := include "worker-agents.secretVariables" . | fromYaml }}
{{- $existing := index $.Values.secrets.existing $name }}
{{- if $existing.name }}
{{ $variable }}: {secret: {{ $existing.name | quote }}, key: {{ $existing.key | quote }}}
{{- else if index $.Values.secrets $name }}
{{ $variable }}: {secret: {{ include "worker-agents.fullname" $ | quote }}, key: {{ $variable }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secret's data, base64 as it was given. */}}
{{- define "worker-agents.secretData" -}}
{{- range $name, $variable := include "worker-agents.secretVariables" . | fromYaml }}
{{- with index $.Values.secrets $name }}
{{ $variable }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.secretEnv" -}}
{{- range $variable, $source := include "worker-agents.secretSources" . | fromYaml }}
{{- if $.Values.secrets.asFiles }}
- name: {{ $variable }}_FILE
  value: {{ include "worker-agents.directory" "secrets" }}/{{ $variable }}
{{- else }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ $source.secret | quote }}, key: {{ $source.key | quote }}}
{{- end }}
{{- end }}
{{- end -}}
