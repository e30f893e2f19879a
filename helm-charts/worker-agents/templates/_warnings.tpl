{{/* What is allowed and yet seldom meant. NOTES.txt tells it after an installation. */}}
{{- define "worker-agents.warnings" -}}
{{- $sources := include "worker-agents.secretSources" . | fromYaml -}}
{{- with .Values.config }}
{{- if eq .fallbackMode "simulate" }}
- config.fallbackMode is "simulate": while a system is down or off, tickets get results that are marked as simulated. "fail" is for production.
{{- end }}
{{- if eq .kafka.securityProtocol "PLAINTEXT" }}
- config.kafka.securityProtocol is PLAINTEXT: anyone on the network can read and write tickets.
{{- end }}
{{- if and .argocd.enabled (not (hasKey $sources "ARGOCD_TOKEN")) (ne (include "worker-agents.isElsewhere" (list $ "ARGOCD_TOKEN")) "true") }}
- config.argocd.enabled, but there is no token: secrets.argoCdToken (base64), or secrets.existing.argoCdToken.name.
{{- end }}
{{- if and .codeForge.enabled (hasPrefix "http://" .codeForge.url) (hasKey $sources "CODE_FORGE_TOKEN") }}
- config.codeForge.url is http: its token is sent in the clear.
{{- end }}
{{- if .kafka.createTopics }}
- config.kafka.createTopics: missing topics are created with 12, 6 and 3 partitions. In production create them yourself, or with topics.create.
{{- end }}
{{- end }}
{{- if not (hasKey $sources "ADMIN_TOKEN") }}
- Without secrets.adminToken nobody can cancel, retry, pause, replay or drain.
{{- end }}
{{- if .Values.networkPolicy.enabled }}
{{- if and (or .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled) (not .Values.networkPolicy.ingress.from) }}
- networkPolicy.ingress.from is empty: only pods of this namespace may read metrics. A Prometheus in another one needs a rule.
{{- end }}
{{- range $system, $ports := include "worker-agents.egressPorts" . | fromYaml }}
{{- if not (index $.Values.networkPolicy.egress $system).to }}
- networkPolicy.egress.{{ $system }}.to is empty: any address may be reached at {{ default $ports (index $.Values.networkPolicy.egress $system).ports | join ", " }}.
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.secrets.asFiles (compact (default list .Values.config.testExecution.allowedCommands)) }}
- secrets.asFiles: code under test could read the secrets. Give TEST a release of its own, without secrets (docs/deployment.md).
{{- end }}
{{- if and .Values.trivyCache.existingClaim (not .Values.config.trivy.skipDbUpdate) (not .Values.config.trivy.serverUrl) }}
- trivyCache.existingClaim is shared by all pods, and each downloads the database into it: two at once can spoil it. Fill it by other means and set config.trivy.skipDbUpdate.
{{- end }}
{{- if and (gt (int .Values.replicaCount) 1) .Values.workspace.existingClaim (not .Values.workspace.readOnly) }}
- workspace.existingClaim is shared by all pods and writable: tests of different pods can disturb each other.
{{- end }}
{{- end -}}
