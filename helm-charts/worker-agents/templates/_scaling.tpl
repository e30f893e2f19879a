{{/* behavior of a HorizontalPodAutoscaler; KEDA makes one too. Adding pods is cheap, taking one away repeats tests and scans. */}}
{{- define "worker-agents.scalingBehavior" -}}
{{- with .Values.autoscaling -}}
scaleUp:
  stabilizationWindowSeconds: {{ .scaleUp.stabilizationSeconds }}
  policies:
    - {type: Pods, value: {{ .scaleUp.podsPerMinute }}, periodSeconds: 60}
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDown.stabilizationSeconds }}
  policies:
    - {type: Pods, value: {{ .scaleDown.pods }}, periodSeconds: {{ .scaleDown.everySeconds }}}
{{- end -}}
{{- end -}}
