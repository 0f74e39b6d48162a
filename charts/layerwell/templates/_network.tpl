{{- /* Not empty if an account comes from the machine or the pod, so that the process asks the cloud's metadata service. */}}
{{- define "layerwell.needsMetadata" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- $needs := and (dig "storage" "shared" nil $config) (not .Values.bucket.existingSecret) }}
{{- range $_, $upstream := $config.upstreams }}
{{- $mirrors := list }}
{{- range $upstream.mirrors }}{{ $mirrors = concat $mirrors (.credentials | default list) }}{{ end }}
{{- range concat ($upstream.credentials | default list) $mirrors }}
{{- if or (has .kind (list "ecr" "ecr-public")) (and (eq .kind "google") (not .keyFile)) }}{{ $needs = true }}{{ end }}
{{- end }}
{{- end }}
{{- if or (eq .Values.networkPolicy.metadata "allow") (and $needs (eq .Values.networkPolicy.metadata "auto")) }}yes{{ end }}
{{- end }}

{{- /* The ports of Redis and its Sentinels, separated by spaces. */}}
{{- define "layerwell.redisPorts" -}}
{{- $redis := .Values.redis }}
{{- $ports := list }}
{{- range concat ($redis.sentinels | default list) ($redis.nodes | default list) (without (list $redis.url) "") }}
{{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+(/|$)" . | trimSuffix "/") | default "6379") }}
{{- end }}
{{- if $redis.sentinels }}{{ $ports = append $ports "6379" }}{{ end }}
{{- $ports | uniq | join " " }}
{{- end }}
