{{- /* Where pods go. Unless affinity or topologySpreadConstraints say otherwise, they are spread as `spread` says. */}}
{{- define "layerwell.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity | default (include "layerwell.antiAffinity" . | fromYaml) }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- if ne .Values.spread.zones "none" }}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (eq .Values.spread.zones "required") | quote }}
    labelSelector:
      matchLabels:
        {{- include "layerwell.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.antiAffinity" -}}
{{- if eq .Values.spread.nodes "required" }}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- include "layerwell.selectorLabels" . | nindent 10 }}
{{- else if eq .Values.spread.nodes "preferred" }}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "layerwell.selectorLabels" . | nindent 12 }}
{{- end }}
{{- end }}
