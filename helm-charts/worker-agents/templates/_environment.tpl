{{/* The ConfigMap's variables, in the order of settings.py. What is null or empty is left out: the worker's default holds. */}}
{{- define "worker-agents.environment" -}}
{{ include "worker-agents.environment.kafka" . }}
{{ include "worker-agents.environment.work" . }}
{{ include "worker-agents.environment.integrations" . }}
{{ include "worker-agents.environment.service" . }}
{{- end -}}

{{- define "worker-agents.environment.kafka" -}}
{{- $kafka := .Values.config.kafka -}}
KAFKA_BOOTSTRAP_SERVERS: {{ $kafka.bootstrapServers | toJson }}
KAFKA_TICKETS_TOPIC: {{ $kafka.ticketsTopic | toJson }}
KAFKA_RESULTS_TOPIC: {{ $kafka.resultsTopic | toJson }}
KAFKA_DLQ_TOPIC: {{ $kafka.dlqTopic | toJson }}
KAFKA_STATE_TOPIC: {{ $kafka.stateTopic | toJson }}
KAFKA_CONSUMER_GROUP_ID: {{ $kafka.consumerGroupId | toJson }}
KAFKA_CREATE_TOPICS: {{ $kafka.createTopics | toJson }}
KAFKA_CONNECT_TIMEOUT_SECONDS: {{ $kafka.connectTimeoutSeconds | toJson }}
KAFKA_SESSION_TIMEOUT_SECONDS: {{ $kafka.sessionTimeoutSeconds | toJson }}
KAFKA_SECURITY_PROTOCOL: {{ $kafka.securityProtocol | toJson }}
KAFKA_SASL_MECHANISM: {{ $kafka.saslMechanism | toJson }}
KAFKA_SASL_USERNAME: {{ $kafka.saslUsername | toJson }}
KAFKA_SSL_CA_LOCATION: {{ include "worker-agents.caFile" (list "kafka" $kafka.tls.ca) | toJson }}
{{- if $kafka.tls.client.secretName }}
KAFKA_SSL_CERTIFICATE_LOCATION: {{ include "worker-agents.directory" "kafka-client" }}/{{ $kafka.tls.client.certificateKey }}
KAFKA_SSL_KEY_LOCATION: {{ include "worker-agents.directory" "kafka-client" }}/{{ $kafka.tls.client.privateKeyKey }}
{{- end }}
{{- end -}}

{{- define "worker-agents.environment.work" -}}
{{- with .Values.config -}}
{{- with compact (default list .supportedTaskTypes) }}
SUPPORTED_TASK_TYPES: {{ . | toJson }}
{{- end }}
MAX_CONCURRENT_TASKS: {{ .maxConcurrentTasks | toJson }}
{{- range $type, $slots := .maxConcurrent }}
MAX_CONCURRENT_{{ upper $type }}: {{ $slots | toJson }}
{{- end }}
MAX_BUFFERED_TICKETS: {{ .maxBufferedTickets | toJson }}
MAX_PARKED_TICKETS: {{ .maxParkedTickets | toJson }}
MAX_RETRIES_PER_TICKET: {{ .maxRetriesPerTicket | toJson }}
RETRY_BACKOFF_BASE_SECONDS: {{ .retryBackoffBaseSeconds | toJson }}
RETRY_BACKOFF_MAX_SECONDS: {{ .retryBackoffMaxSeconds | toJson }}
MAX_DELIVERIES: {{ .maxDeliveries | toJson }}
TASK_TIMEOUT_MULTIPLIER: {{ .taskTimeoutMultiplier | toJson }}
ORDERING: {{ .ordering | toJson }}
DEPENDENCY_TIMEOUT_SECONDS: {{ .dependencyTimeoutSeconds | toJson }}
DEDUP_RETENTION_SECONDS: {{ .dedupRetentionSeconds | toJson }}
DRAIN_TIMEOUT_SECONDS: {{ .drainTimeoutSeconds | toJson }}
KILL_GRACE_SECONDS: {{ .killGraceSeconds | toJson }}
PUBLISH_RUNNING: {{ .publishRunning | toJson }}
RESULT_MAX_BYTES: {{ .resultMaxBytes | toJson }}
{{- end }}
TERMINATION_GRACE_PERIOD_SECONDS: {{ include "worker-agents.terminationGracePeriodSeconds" . }}
{{- end -}}

{{- define "worker-agents.environment.integrations" -}}
{{- with .Values.config -}}
FALLBACK_MODE: {{ .fallbackMode | toJson }}
CODE_FORGE_FALLBACK: {{ .codeForge.fallback | toJson }}
OPA_FALLBACK: {{ .opa.fallback | toJson }}
TRIVY_FALLBACK: {{ .trivy.fallback | toJson }}
ARGOCD_FALLBACK: {{ .argocd.fallback | toJson }}
TEST_FALLBACK: {{ .testExecution.fallback | toJson }}
CODE_FORGE_URL: {{ .codeForge.url | toJson }}
CODE_FORGE_ENABLED: {{ .codeForge.enabled | toJson }}
CODE_FORGE_TIMEOUT_SECONDS: {{ .codeForge.timeoutSeconds | toJson }}
ARGOCD_URL: {{ .argocd.url | toJson }}
ARGOCD_ENABLED: {{ .argocd.enabled | toJson }}
OPA_URL: {{ .opa.url | toJson }}
OPA_ENABLED: {{ .opa.enabled | toJson }}
OPA_TIMEOUT_SECONDS: {{ .opa.timeoutSeconds | toJson }}
TRIVY_ENABLED: {{ .trivy.enabled | toJson }}
TRIVY_TIMEOUT_SECONDS: {{ .trivy.timeoutSeconds | toJson }}
TRIVY_SCANNERS: {{ .trivy.scanners | toJson }}
TRIVY_FAIL_SEVERITIES: {{ .trivy.failSeverities | toJson }}
TRIVY_SKIP_DB_UPDATE: {{ .trivy.skipDbUpdate | toJson }}
TRIVY_CONCURRENT_SCANS: {{ .trivy.concurrentScans | toJson }}
TRIVY_SERVER_URL: {{ .trivy.serverUrl | toJson }}
TEST_EXECUTION_TIMEOUT_SECONDS: {{ .testExecution.timeoutSeconds | toJson }}
ALLOWED_TEST_COMMANDS: {{ .testExecution.allowedCommands | toJson }}
TEST_COMMAND_PATH: {{ .testExecution.commandPath | toJson }}
TEST_ENVIRONMENT_ALLOWED: {{ .testExecution.environmentAllowed | toJson }}
TEST_MEMORY_LIMIT_MB: {{ .testExecution.memoryLimitMb | toJson }}
TEST_PROCESS_LIMIT: {{ .testExecution.processLimit | toJson }}
ALLOWED_GIT_URLS: {{ .git.allowedUrls | toJson }}
GIT_TIMEOUT_SECONDS: {{ .git.timeoutSeconds | toJson }}
GIT_CHECKOUT_LIMIT_MB: {{ .git.checkoutLimitMb | toJson }}
VAULT_ENABLED: {{ .vault.enabled | toJson }}
VAULT_ADDRESS: {{ .vault.address | toJson }}
VAULT_KUBERNETES_ROLE: {{ .vault.kubernetesRole | toJson }}
VAULT_KUBERNETES_MOUNT: {{ .vault.kubernetesMount | toJson }}
VAULT_KUBERNETES_TOKEN_PATH: {{ eq (include "worker-agents.logsInToVault" $) "true" | ternary (printf "%s/token" (include "worker-agents.directory" "vault-login")) .vault.kubernetesTokenPath | toJson }}
VAULT_MOUNT_KV: {{ .vault.mountKv | toJson }}
VAULT_NAMESPACE: {{ .vault.namespace | toJson }}
VAULT_CACHE_SECONDS: {{ .vault.cacheSeconds | toJson }}
VAULT_CONNECT_TIMEOUT_SECONDS: {{ .vault.connectTimeoutSeconds | toJson }}
VAULT_CACERT: {{ include "worker-agents.caFile" (list "vault" .vault.tls.ca) | toJson }}
{{- end }}
TEST_WORKSPACE_ROOT: {{ .Values.workspace.mountPath | toJson }}
SCRATCH_DIRECTORY: {{ .Values.scratch.mountPath | toJson }}
TRIVY_CACHE_DIR: {{ .Values.trivyCache.mountPath | toJson }}
{{- with .Values.trustedCertificates }}
{{- if .configMapName }}
SSL_CERT_FILE: {{ include "worker-agents.directory" "trusted" }}/{{ .key }}
GIT_SSL_CAINFO: {{ include "worker-agents.directory" "trusted" }}/{{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "worker-agents.environment.service" -}}
KUBERNETES_API_URL: {{ .Values.podDeletionCost.apiUrl | toJson }}
SERVICE_ACCOUNT_DIRECTORY: {{ .Values.podDeletionCost.serviceAccountDirectory | toJson }}
{{- with .Values.config }}
HTTP_HOST: {{ .http.host | toJson }}
HTTP_PORT: {{ .http.port | toJson }}
LOG_LEVEL: {{ .log.level | toJson }}
LOG_FORMAT: {{ .log.format | toJson }}
EVENT_LOOP_STALL_SECONDS: {{ .eventLoopStallSeconds | toJson }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ .otel.endpoint | toJson }}
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: {{ .otel.tracesEndpoint | toJson }}
OTEL_EXPORTER_OTLP_PROTOCOL: {{ .otel.protocol | toJson }}
OTEL_EXPORTER_OTLP_TIMEOUT: {{ .otel.timeoutMilliseconds | toJson }}
OTEL_EXPORTER_OTLP_COMPRESSION: {{ .otel.compression | toJson }}
OTEL_EXPORTER_OTLP_CERTIFICATE: {{ include "worker-agents.caFile" (list "otel" .otel.tls.ca) | toJson }}
{{- with .otel.tls.client }}
{{- if .secretName }}
OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: {{ include "worker-agents.directory" "otel-client" }}/{{ .certificateKey }}
OTEL_EXPORTER_OTLP_CLIENT_KEY: {{ include "worker-agents.directory" "otel-client" }}/{{ .privateKeyKey }}
{{- end }}
{{- end }}
OTEL_SERVICE_NAME: {{ default (include "worker-agents.fullname" $) .otel.serviceName | toJson }}
OTEL_TRACES_SAMPLER: {{ .otel.sampler | toJson }}
OTEL_TRACES_SAMPLER_ARG: {{ .otel.samplerArg | toJson }}
OTEL_BSP_SCHEDULE_DELAY: {{ .otel.scheduleDelayMilliseconds | toJson }}
OTEL_BSP_MAX_QUEUE_SIZE: {{ .otel.maxQueueSize | toJson }}
OTEL_BSP_MAX_EXPORT_BATCH_SIZE: {{ .otel.maxExportBatchSize | toJson }}
OTEL_TRACES_EXPORTER: {{ .otel.exporter | toJson }}
OTEL_SDK_DISABLED: {{ .otel.disabled | toJson }}
TRACE_URL_TEMPLATE: {{ .otel.traceUrlTemplate | toJson }}
{{- end }}
{{- end -}}

{{/* A setting as text: lists separated by commas where that can be read back, else as JSON; numbers never as 1e+06.
`--set list={}` is a list of one empty text, and means an empty list. */}}
{{- define "worker-agents.text" -}}
{{- $value := . -}}
{{- if kindIs "slice" . -}}
{{- $value = compact . -}}
{{- end -}}
{{- if kindIs "string" $value -}}
{{ $value }}
{{- else if and (kindIs "slice" $value) $value (not (contains "," (join "" $value))) -}}
{{ join "," $value }}
{{- else -}}
{{ toJson $value }}
{{- end -}}
{{- end -}}
