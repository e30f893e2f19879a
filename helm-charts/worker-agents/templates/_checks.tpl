{{/* What the schema cannot see: values that contradict each other. All that is found is told at once. */}}
{{- define "worker-agents.check" -}}
{{- $found := list -}}
{{- range list "pods" "times" "kafka" "topics" "integrations" "secrets" "storage" "monitoring" -}}
{{- $found = concat $found (include (printf "worker-agents.check.%s" .) $ | trim | splitList "\n") -}}
{{- end -}}
{{- with without $found "" -}}
{{- fail (printf "\n\n  %s\n" (join "\n  " .)) -}}
{{- end -}}
{{- end -}}

{{- define "worker-agents.check.pods" -}}
{{- $partitions := int .Values.topics.tickets.partitions -}}
{{- with .Values.autoscaling }}
{{- if and (not .enabled) (gt (int $.Values.replicaCount) $partitions) }}
replicaCount: {{ $.Values.replicaCount }} pods share {{ $partitions }} partitions (topics.tickets.partitions); the others would never get a ticket
{{- end }}
{{- if .enabled }}
{{- if gt (int .maxReplicas) $partitions }}
autoscaling.maxReplicas: is {{ .maxReplicas }}, but there are {{ $partitions }} partitions (topics.tickets.partitions); further pods would never get a ticket
{{- end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
autoscaling.minReplicas: is {{ .minReplicas }}, more than autoscaling.maxReplicas ({{ .maxReplicas }})
{{- end }}
{{- if and (eq (int .minReplicas) 0) (not (and (eq .kind "keda") .keda.wakeByLag)) }}
autoscaling.minReplicas: is 0, but nothing would wake the first pod up; that takes autoscaling.kind=keda and autoscaling.keda.wakeByLag=true
{{- end }}
{{- if gt (int .ticketsPerPod) (int $.Values.config.maxConcurrentTasks) }}
autoscaling.ticketsPerPod: is {{ .ticketsPerPod }}, but a pod runs {{ $.Values.config.maxConcurrentTasks }} at once (config.maxConcurrentTasks): pods would be full before another one is added
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.updateStrategy }}
{{- if and (eq .type "RollingUpdate") (eq (toString (.rollingUpdate).maxSurge) "0") (eq (toString (.rollingUpdate).maxUnavailable) "0") }}
updateStrategy.rollingUpdate: maxSurge and maxUnavailable are both 0: no pod could ever be replaced
{{- end }}
{{- end }}
{{- if and .Values.podDeletionCost.enabled (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
serviceAccount.name: is needed with podDeletionCost.enabled and serviceAccount.create=false; otherwise every pod of the namespace could change pods
{{- end }}
{{- with .Values.config.workerId }}
{{- if not (or (contains "$(POD_NAME)" .) (contains "$(POD_UID)" .)) }}
config.workerId: {{ . }} would be the name of every pod; put $(POD_NAME) or $(POD_UID) into it
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.times" -}}
{{- $least := include "worker-agents.leastGraceSeconds" . | float64 -}}
{{- with .Values.terminationGracePeriodSeconds }}
{{- if le (float64 .) $least }}
terminationGracePeriodSeconds: is {{ . }}, but must be more than {{ $least }} (config.drainTimeoutSeconds + config.killGraceSeconds + 30): pods would be killed before they have handed over their tickets
{{- end }}
{{- end }}
{{- with .Values.config }}
{{- if gt (include "worker-agents.killGraceSeconds" $ | float64) (divf (include "worker-agents.sessionSeconds" $ | float64) 3) }}
config.killGraceSeconds: is {{ .killGraceSeconds }}, more than a third of config.kafka.sessionTimeoutSeconds ({{ .kafka.sessionTimeoutSeconds }}): the lease would end before it can be renewed
{{- end }}
{{- if and (not (kindIs "invalid" .retryBackoffMaxSeconds)) (gt (float64 .retryBackoffBaseSeconds) (float64 .retryBackoffMaxSeconds)) }}
config.retryBackoffBaseSeconds: is {{ .retryBackoffBaseSeconds }}, more than config.retryBackoffMaxSeconds ({{ .retryBackoffMaxSeconds }})
{{- end }}
{{- $vault := .vault }}
{{- with $.Values.startupProbe }}
{{- $seconds := mul (default 10 .periodSeconds) (default 3 .failureThreshold) }}
{{- if and $vault.enabled (gt (addf $vault.connectTimeoutSeconds 30) (float64 $seconds)) }}
startupProbe: ends the pod after {{ $seconds }} s, but it may wait for Vault for {{ $vault.connectTimeoutSeconds }} s (config.vault.connectTimeoutSeconds); give it 30 s more than that, or nobody learns why it ended
{{- end }}
{{- end }}
{{- if and .otel.maxQueueSize (gt (int .otel.maxExportBatchSize) (int .otel.maxQueueSize)) }}
config.otel.maxExportBatchSize: is {{ .otel.maxExportBatchSize }}, more than config.otel.maxQueueSize ({{ .otel.maxQueueSize }})
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.kafka" -}}
{{- $sources := include "worker-agents.secretSources" . | fromYaml -}}
{{- with .Values.config.kafka }}
{{- $protocol := default "PLAINTEXT" .securityProtocol }}
{{- $login := hasPrefix "SASL_" $protocol }}
{{- if and $login (not .saslMechanism) }}
config.kafka.saslMechanism: is needed with config.kafka.securityProtocol={{ $protocol }}
{{- end }}
{{- if and .saslMechanism (not $login) }}
config.kafka.securityProtocol: is {{ $protocol }}, which has no login, but config.kafka.saslMechanism is {{ .saslMechanism }}
{{- end }}
{{- if and $login (not .saslUsername) (ne (include "worker-agents.isElsewhere" (list $ "KAFKA_SASL_USERNAME")) "true") }}
config.kafka.saslUsername: is needed with config.kafka.securityProtocol={{ $protocol }}
{{- end }}
{{- if and $login (not (hasKey $sources "KAFKA_SASL_PASSWORD")) (ne (include "worker-agents.isElsewhere" (list $ "KAFKA_SASL_PASSWORD")) "true") }}
secrets.kafkaSaslPassword: is needed with config.kafka.securityProtocol={{ $protocol }}, or secrets.existing.kafkaSaslPassword.name
{{- end }}
{{- if and (not (hasSuffix "SSL" $protocol)) (or .tls.ca.secretName .tls.ca.configMapName .tls.client.secretName) }}
config.kafka.tls: has no effect with config.kafka.securityProtocol={{ $protocol }}; use SSL or SASL_SSL
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.topics" -}}
{{- with .Values.config.kafka }}
{{- $names := compact (list .ticketsTopic .resultsTopic .dlqTopic .stateTopic) }}
{{- if lt (len (uniq $names)) (len $names) }}
config.kafka: two of ticketsTopic, resultsTopic, dlqTopic and stateTopic have the same name ({{ join ", " $names }})
{{- end }}
{{- end }}
{{- if .Values.topics.create }}
{{- if .Values.config.kafka.createTopics }}
config.kafka.createTopics: must be false with topics.create, or workers and Strimzi both create the topics
{{- end }}
{{- if not .Values.topics.strimziCluster }}
topics.strimziCluster: is needed with topics.create
{{- end }}
{{- if gt (int .Values.topics.minInSyncReplicas) (int .Values.topics.replicas) }}
topics.minInSyncReplicas: is {{ .Values.topics.minInSyncReplicas }}, more than topics.replicas ({{ .Values.topics.replicas }}): nothing could be written
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.integrations" -}}
{{- with .Values.config }}
{{- range $name, $system := dict "codeForge" .codeForge "opa" .opa }}
{{- if and $system.enabled (not $system.url) }}
config.{{ $name }}.url: is needed with config.{{ $name }}.enabled
{{- end }}
{{- end }}
{{- if and .argocd.enabled (not .argocd.url) }}
config.argocd.url: is needed with config.argocd.enabled
{{- end }}
{{- if and .vault.enabled (not .vault.address) }}
config.vault.address: is needed with config.vault.enabled
{{- end }}
{{- range $name, $tls := dict "kafka" .kafka.tls "otel" .otel.tls "vault" .vault.tls }}
{{- if and $tls.ca.secretName $tls.ca.configMapName }}
config.{{ $name }}.tls.ca: set secretName or configMapName, not both
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.secrets" -}}
{{- range $name, $_ := include "worker-agents.secretVariables" . | fromYaml }}
{{- $value := default "" (index $.Values.secrets $name) }}
{{- if and $value (index $.Values.secrets.existing $name).name }}
secrets.{{ $name }}: set this or secrets.existing.{{ $name }}, not both
{{- end }}
{{- if not (regexMatch "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$" $value) }}
secrets.{{ $name }}: is not base64, as it stands under `data` of a Secret; echo -n "$SECRET" | base64 -w 0
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.storage" -}}
{{- $scratch := printf "%s/" .Values.scratch.mountPath }}
{{- $workspace := printf "%s/" .Values.workspace.mountPath }}
{{- if or (hasPrefix $scratch $workspace) (hasPrefix $workspace $scratch) }}
scratch.mountPath: {{ .Values.scratch.mountPath }} and workspace.mountPath ({{ .Values.workspace.mountPath }}) must not lie in each other
{{- end }}
{{- with .Values.workspace }}
{{- if and .initContainer (not (.initContainer).image) }}
workspace.initContainer.image: is needed
{{- end }}
{{- if and .readOnly (not .existingClaim) (not .initContainer) }}
workspace.readOnly: needs workspace.existingClaim or workspace.initContainer; otherwise the workspace stays empty
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.check.monitoring" -}}
{{- with .Values.monitoring }}
{{- if and .podMonitor.enabled .serviceMonitor.enabled }}
monitoring: enable podMonitor or serviceMonitor, not both; every ticket would be counted twice
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether a variable (list root name) may come from extraEnv or extraEnvFrom; what those hold the chart cannot know. */}}
{{- define "worker-agents.isElsewhere" -}}
{{- $root := index . 0 -}}
{{- or (not (empty $root.Values.extraEnvFrom)) (has (index . 1) (include "worker-agents.extraVariables" $root | fromJsonArray)) -}}
{{- end -}}
