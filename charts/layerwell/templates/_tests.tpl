{{- /* Not empty if an upstream mirrors the registry of an image. Takes the root and the image. */}}
{{- define "layerwell.mirrors" -}}
{{- $registry := first (splitList "/" (index . 1)) }}
{{- range $key, $upstream := (include "layerwell.config" (index . 0) | fromJson).upstreams }}
{{- $pattern := $key | replace "." "\\." | replace "**" "@@" | replace "*" "[^.]+" | replace "@@" ".+" }}
{{- if or (regexMatch (printf "^%s$" $pattern) $registry) (has $registry (dig "aliases" list ($upstream | default dict))) }}yes{{ end }}
{{- end }}
{{- end }}

{{- /* The image that `helm test` pulls; empty if no upstream mirrors it. */}}
{{- define "layerwell.testImage" -}}
{{- $usual := "registry.k8s.io/pause:3.10" }}
{{- if .Values.tests.image }}{{ .Values.tests.image }}
{{- else if include "layerwell.mirrors" (list . $usual) }}{{ $usual }}
{{- end }}
{{- end }}

{{- /* Not those of the Services, which would send requests to the pod of `helm test`. */}}
{{- define "layerwell.testLabels" -}}
app.kubernetes.io/name: {{ include "layerwell.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* The pod of `helm test`, as a peer of a network policy. */}}
{{- define "layerwell.testPeer" -}}
- podSelector:
    matchLabels:
      {{- include "layerwell.testLabels" . | nindent 6 }}
{{- end }}
