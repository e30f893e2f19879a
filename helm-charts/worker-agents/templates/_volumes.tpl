{{/* Where the chart mounts what the worker reads. */}}
{{- define "worker-agents.directory" -}}
/etc/worker-agents/{{ . }}
{{- end -}}

{{/* The file of certificates of an authority, of (list name {secretName, configMapName, key}); empty without one. */}}
{{- define "worker-agents.caFile" -}}
{{- $ca := index . 1 -}}
{{- if or $ca.secretName $ca.configMapName -}}
{{ include "worker-agents.directory" (printf "%s-ca" (index . 0)) }}/{{ $ca.key }}
{{- end -}}
{{- end -}}

{{/* What is mounted to be read, by the directory's name: a volume source each. */}}
{{- define "worker-agents.readOnlyVolumes" -}}
{{- $config := .Values.config -}}
{{- range $name, $tls := dict "kafka" $config.kafka.tls "otel" $config.otel.tls "vault" $config.vault.tls }}
{{- with $tls.ca }}
{{- if .secretName }}
{{ $name }}-ca:
  secret: {secretName: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
{{- else if .configMapName }}
{{ $name }}-ca:
  configMap: {name: {{ .configMapName | quote }}, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
{{- end }}
{{- end }}
{{- with $tls.client }}
{{- if .secretName }}
{{ $name }}-client:
  secret:
    secretName: {{ .secretName | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .certificateKey | quote }}, path: {{ .certificateKey | quote }}}
      - {key: {{ .privateKeyKey | quote }}, path: {{ .privateKeyKey | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.trustedCertificates }}
{{- if .configMapName }}
trusted:
  configMap: {name: {{ .configMapName | quote }}, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
{{- end }}
{{- end }}
{{- $sources := include "worker-agents.secretSources" . | fromYaml }}
{{- if and .Values.secrets.asFiles $sources }}
secrets:
  projected:
    defaultMode: 0440
    sources:
      {{- range $variable, $source := $sources }}
      - secret: {name: {{ $source.secret | quote }}, items: [{key: {{ $source.key | quote }}, path: {{ $variable }}}]}
      {{- end }}
{{- end }}
{{- if eq (include "worker-agents.logsInToVault" .) "true" }}
vault-login:
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
          {{- with $config.vault.tokenAudience }}
          audience: {{ . | quote }}
          {{- end }}
{{- end }}
{{- end -}}

{{/* Whether the worker logs in to Vault with a token of its service account that the chart mounts. */}}
{{- define "worker-agents.logsInToVault" -}}
{{- $hasToken := hasKey (include "worker-agents.secretSources" . | fromYaml) "VAULT_TOKEN" -}}
{{- and .Values.config.vault.enabled (not .Values.config.vault.kubernetesTokenPath) (not $hasToken) -}}
{{- end -}}

{{- define "worker-agents.volumes" -}}
{{- range $name, $source := include "worker-agents.readOnlyVolumes" . | fromYaml }}
- name: {{ $name }}
  {{- toYaml $source | nindent 2 }}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmp.sizeLimit }}}
- name: scratch
  emptyDir: {sizeLimit: {{ .Values.scratch.sizeLimit }}}
{{ include "worker-agents.claimOrEmptyDir" (list "workspace" .Values.workspace) }}
{{ include "worker-agents.claimOrEmptyDir" (list "trivy-cache" .Values.trivyCache) }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "worker-agents.claimOrEmptyDir" -}}
{{- $values := index . 1 -}}
- name: {{ index . 0 }}
  {{- if $values.existingClaim }}
  {{- /* Many pods get some volumes only if all ask for them read-only. */}}
  persistentVolumeClaim: {claimName: {{ $values.existingClaim | quote }}{{ if and $values.readOnly (not $values.initContainer) }}, readOnly: true{{ end }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ $values.sizeLimit }}}
  {{- end }}
{{- end -}}

{{- define "worker-agents.volumeMounts" -}}
{{- range $name, $_ := include "worker-agents.readOnlyVolumes" . | fromYaml }}
- {name: {{ $name }}, mountPath: {{ include "worker-agents.directory" $name }}, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
- {name: scratch, mountPath: {{ .Values.scratch.mountPath }}}
- {name: workspace, mountPath: {{ .Values.workspace.mountPath }}{{ if .Values.workspace.readOnly }}, readOnly: true{{ end }}}
- {name: trivy-cache, mountPath: {{ .Values.trivyCache.mountPath }}}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
