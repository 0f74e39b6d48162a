{{- /*
The configuration file: `config`, completed by what the chart itself decides. What `config` says takes precedence.
Returns JSON: `include "layerwell.config" . | fromJson` is the dict.
*/}}
{{- define "layerwell.config" -}}
{{- $config := deepCopy (.Values.config | default dict) }}
{{- if .Values.upstreams }}
{{- $_ := set $config "upstreams" (deepCopy .Values.upstreams) }}
{{- end }}
{{- $forPods := dict
  "listen" (dict "host" "::" "port" 5000)
  "management" (dict "host" "::" "port" 5001)
  "storage" (dict "path" "/data")
  "shutdown" (dict "preStop" "5s" "drain" "25s") }}
{{- if .Values.cluster.enabled }}
{{- $_ := set $forPods "cluster" (include "layerwell.config.cluster" . | fromYaml) }}
{{- end }}
{{- merge $config $forPods | toPrettyJson }}
{{- end }}

{{- define "layerwell.config.cluster" -}}
listen:
  host: "::"
  port: {{ .Values.cluster.port }}
{{- /* The address of a pod is IPv6 where its services are IPv6 first. */}}
{{- $address := ternary "[${env:POD_IP}]" "${env:POD_IP}" (eq (first .Values.service.ipFamilies | default "IPv4") "IPv6") }}
advertise: {{ printf "http://%s:%v" $address .Values.cluster.port | quote }}
replicaName: ${env:POD_NAME}
secretFile: /run/secrets/layerwell/cluster/secret
{{- if .Values.cluster.previousSecretKey }}
previousSecretFile: /run/secrets/layerwell/cluster/previous-secret
{{- end }}
{{- with include "layerwell.config.redis" . | fromYaml }}
redis:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* How to reach Redis: the keys of cluster.redis. */}}
{{- define "layerwell.config.redis" -}}
{{- $redis := .Values.redis }}
{{- $folder := "/run/secrets/layerwell/redis" }}
{{- $given := dict "url" $redis.url "sentinels" $redis.sentinels "name" $redis.name "nodes" $redis.nodes "username" $redis.username "keyPrefix" $redis.keyPrefix }}
{{- $keys := dict }}
{{- range $key, $value := $given }}
{{- if $value }}{{ $_ := set $keys $key $value }}{{ end }}
{{- end }}
{{- if not (kindIs "invalid" $redis.database) }}{{ $_ := set $keys "database" (int $redis.database) }}{{ end }}
{{- if $redis.existingSecret }}
{{- if $redis.urlKey }}{{ $_ := set $keys "urlFile" (printf "%s/url" $folder) }}{{ end }}
{{- if $redis.passwordKey }}{{ $_ := set $keys "passwordFile" (printf "%s/password" $folder) }}{{ end }}
{{- if $redis.sentinelPasswordKey }}{{ $_ := set $keys "sentinelPasswordFile" (printf "%s/sentinel-password" $folder) }}{{ end }}
{{- end }}
{{- if $redis.tls.enabled }}
{{- $_ := set $keys "tls" (ternary (dict "caFile" (printf "%s-ca/ca.crt" $folder)) (dict) (ne $redis.tls.caSecret "")) }}
{{- end }}
{{- toYaml $keys }}
{{- end }}
