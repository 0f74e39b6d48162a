{{- /* Changes when the pods must restart. They read changes of all other sections by themselves. */}}
{{- define "layerwell.restartChecksum" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- pick $config "listen" "management" "storage" "index" "cluster" "download" "clients" | toJson | sha256sum }}
{{- end }}
