{{/* What the worker is given as environment, in the Deployment and in `helm test`. Each name once: of two, server-side apply
refuses the list, and the worker a secret that comes by X and X_FILE. */}}
{{- define "worker-agents.env" -}}
{{- $extra := include "worker-agents.extraVariables" . | fromJsonArray -}}
{{- $env := list -}}
{{- range include "worker-agents.ownEnv" . | fromYamlArray -}}
{{- if not (has (trimSuffix "_FILE" .name) $extra) -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{ concat $env (default list .Values.extraEnv) | toYaml }}
{{- end -}}

{{/* Names of extraEnv, as a list; X_FILE counts as X. */}}
{{- define "worker-agents.extraVariables" -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- $names = append $names (trimSuffix "_FILE" .name) -}}
{{- end -}}
{{ toJson $names }}
{{- end -}}

{{- define "worker-agents.ownEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# Not in the ConfigMap: it takes the names above.
- name: POD_DELETION_COST_ENABLED
  value: {{ .Values.podDeletionCost.enabled | quote }}
- name: HTTP_ADVERTISED_HOST
  {{- if .Values.config.http.advertisedHost }}
  value: {{ .Values.config.http.advertisedHost | quote }}
  {{- else }}
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
  {{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "worker-agents.resourceAttributes" . | quote }}
{{- with .Values.config.workerId }}
- name: WORKER_ID
  value: {{ . | quote }}
{{- end }}
{{- include "worker-agents.secretEnv" . }}
{{- end -}}

{{- define "worker-agents.resourceAttributes" -}}
k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID)
{{- range $name, $value := .Values.config.otel.resourceAttributes }},{{ $name }}={{ $value }}{{ end }}
{{- end -}}

{{- define "worker-agents.envFrom" -}}
- configMapRef: {name: {{ include "worker-agents.fullname" . }}}
{{- with .Values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "worker-agents.container" -}}
name: worker-agents
image: {{ include "worker-agents.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run]
env: {{- include "worker-agents.env" . | nindent 2 }}
envFrom: {{- include "worker-agents.envFrom" . | nindent 2 }}
ports:
  - {name: http, containerPort: {{ include "worker-agents.httpPort" . }}, protocol: TCP}
{{- with .Values.startupProbe }}
startupProbe:
  httpGet: {path: /health, port: http}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.livenessProbe }}
livenessProbe:
  httpGet: {path: /health, port: http}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.readinessProbe }}
readinessProbe:
  httpGet: {path: /ready, port: http}
  {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- toYaml .Values.containerSecurityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts: {{- include "worker-agents.volumeMounts" . | trim | nindent 2 }}
{{- end -}}

{{- define "worker-agents.initContainers" -}}
{{- with .Values.workspace.initContainer }}
- name: workspace
  image: {{ .image | quote }}
  {{- with omit . "image" }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  securityContext: {{- toYaml $.Values.containerSecurityContext | nindent 4 }}
  volumeMounts:
    - {name: workspace, mountPath: {{ $.Values.workspace.mountPath }}}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- with .Values.extraInitContainers }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Nodes and zones, each as far as possible: a pod without a place would be worse than two on one node. */}}
{{- define "worker-agents.topologySpreadConstraints" -}}
{{- if kindIs "invalid" .Values.topologySpreadConstraints -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "worker-agents.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- else if .Values.topologySpreadConstraints -}}
{{ toYaml .Values.topologySpreadConstraints }}
{{- end -}}
{{- end -}}

{{/* Which nodes a pod may have, and how it finds others from there: the same for `helm test`. */}}
{{- define "worker-agents.surroundings" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
