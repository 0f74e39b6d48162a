{{- /* OpenShift gives each namespace user ids of its own, and refuses pods that name others. */}}
{{- define "layerwell.isOpenShift" -}}
{{- $isThere := .Capabilities.APIVersions.Has "security.openshift.io/v1" }}
{{- if or (eq .Values.openshift "enabled") (and $isThere (eq .Values.openshift "auto")) }}yes{{ end }}
{{- end }}

{{- define "layerwell.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext | default dict }}
{{- if include "layerwell.isOpenShift" . }}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{- define "layerwell.securityContext" -}}
{{- $context := .Values.securityContext | default dict }}
{{- if include "layerwell.isOpenShift" . }}
{{- $context = omit $context "runAsUser" "runAsGroup" }}
{{- end }}
{{- toYaml $context }}
{{- end }}
