{{- /* Metadata of a ServiceMonitor or PodMonitor: with labels by which it is found, and maybe in another namespace. Also of rules and the dashboard, which has a suffix. */}}
{{- define "layerwell.monitor.metadata" -}}
name: {{ printf "%s%s" (include "layerwell.fullname" .root) (.suffix | default "") | quote }}
namespace: {{ .monitor.namespace | default .root.Release.Namespace | quote }}
labels:
  {{- merge (dict) (.monitor.labels | default dict) (include "layerwell.labels" .root | fromYaml) | toYaml | nindent 2 }}
{{- with merge (dict) (.monitor.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What a ServiceMonitor and a PodMonitor have in common below spec. */}}
{{- define "layerwell.monitor.spec" -}}
namespaceSelector:
  matchNames: [{{ .root.Release.Namespace | quote }}]
{{- range $key := list "jobLabel" "sampleLimit" }}
{{- with index $.monitor $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.monitor.endpoint" -}}
port: management
path: /metrics
{{- range $key := list "interval" "scrapeTimeout" "honorLabels" }}
{{- with index $.monitor $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- range $key := list "relabelings" "metricRelabelings" }}
{{- with index $.monitor $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
