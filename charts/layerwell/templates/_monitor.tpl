{{- /* Metadata of a ServiceMonitor or PodMonitor: with labels by which it is found, and maybe in another namespace. Also of rules and the dashboard, which has a suffix. */}}
{{- define "layerwell.monitor.metadata" -}}
name: {{ include "layerwell.fullname" .root }}{{ .suffix }}
namespace: {{ .monitor.namespace | default .root.Release.Namespace }}
labels:
  {{- include "layerwell.labels" .root | nindent 2 }}
  {{- with .monitor.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.monitor.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What a ServiceMonitor and a PodMonitor have in common below spec. */}}
{{- define "layerwell.monitor.spec" -}}
namespaceSelector:
  matchNames: [{{ .root.Release.Namespace }}]
{{- range $key := list "jobLabel" "sampleLimit" }}
{{- with index $.monitor $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.monitor.endpoint" -}}
port: management
path: /metrics
{{- range $key := list "interval" "scrapeTimeout" "honorLabels" }}
{{- with index $.monitor $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "relabelings" "metricRelabelings" }}
{{- with index $.monitor $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
