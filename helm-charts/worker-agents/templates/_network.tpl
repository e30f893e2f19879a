{{/* HTTP_PORT, with the worker's default. */}}
{{- define "worker-agents.httpPort" -}}
{{ default 8080 .Values.config.http.port }}
{{- end -}}

{{/* The systems that the worker speaks to, each with the ports that its addresses name: {kafka: [9092], …}. */}}
{{- define "worker-agents.egressPorts" -}}
{{- with .Values.config -}}
kafka: {{ include "worker-agents.serverPorts" .kafka.bootstrapServers }}
{{- if .codeForge.enabled }}
codeForge: {{ include "worker-agents.urlPorts" (list .codeForge.url) }}
{{- end }}
{{- if .opa.enabled }}
opa: {{ include "worker-agents.urlPorts" (list .opa.url) }}
{{- end }}
{{- if .argocd.enabled }}
argocd: {{ include "worker-agents.urlPorts" (list .argocd.url) }}
{{- end }}
{{- if and .trivy.enabled (or .trivy.serverUrl (not .trivy.skipDbUpdate)) }}
trivy: {{ include "worker-agents.urlPorts" (list (default "https://database" .trivy.serverUrl)) }}
{{- end }}
{{- with compact (default list .git.allowedUrls) }}
git: {{ include "worker-agents.urlPorts" . }}
{{- end }}
{{- if .vault.enabled }}
vault: {{ include "worker-agents.urlPorts" (list .vault.address) }}
{{- end }}
{{- $collectors := compact (list .otel.endpoint .otel.tracesEndpoint) }}
{{- if $collectors }}
{{- /* gRPC takes 443 where no port is named, also without TLS. */}}
{{- $scheme := eq .otel.protocol "grpc" | ternary "https://" "http://" }}
otel: {{ include "worker-agents.urlPorts" (join " " $collectors | replace "http://" $scheme | splitList " ") }}
{{- end }}
{{- end }}
{{- if .Values.podDeletionCost.enabled }}
kubernetesApi: [443, 6443]
{{- end }}
{{- end -}}

{{/* Ports of addresses, as a list: the usual ones of their schemes where none is named. git@host:path is SSH. */}}
{{- define "worker-agents.urlPorts" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $authority := regexFind "^[a-z]+://[^/]+" . -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- $usual := get (dict "http" "80" "https" "443" "git" "9418") (splitList ":" $authority | first) | default "22" -}}
{{- $ports = append $ports (default $usual $port | int) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* Ports of host:port pairs, in a list or in text. */}}
{{- define "worker-agents.serverPorts" -}}
{{- $ports := list -}}
{{- range kindIs "string" . | ternary (. | toString | splitList ",") . -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" (trim .) | trimPrefix ":" | default "9092" | int) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}
