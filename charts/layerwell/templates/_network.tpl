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

{{- /*
The ports of Redis and its Sentinels, and those of the bucket and upstreams that are services of the cluster: their URL names a service. Separated by
spaces.
*/}}
{{- define "layerwell.servicePorts" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- $ports := list }}
{{- range list (dig "cluster" "redis" dict $config) (ternary ($config.index | default dict) dict (eq (dig "index" "driver" "" $config) "redis")) }}
{{- range concat (.sentinels | default list) (.nodes | default list) (without (list (.url | default "")) "") }}
{{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+(/|$)" . | trimSuffix "/") | default "6379") }}
{{- end }}
{{- if or .sentinels .urlFile }}{{ $ports = append $ports "6379" }}{{ end }}
{{- end }}
{{- range regexFindAll "\"https?://[^\"]+\"" (omit $config "cluster" | toJson) -1 }}
{{- $url := trimAll "\"" . | urlParse }}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" }}
{{- if or (not (regexMatch "[.:\\[]" $host)) (regexMatch "\\.svc(\\.|$)" $host) }}
{{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https"))) }}
{{- end }}
{{- end }}
{{- $ports | uniq | sortAlpha | join " " }}
{{- end }}

{{- /* DNS, also of a cache on the node. */}}
{{- define "layerwell.egressToDns" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
