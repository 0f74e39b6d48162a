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
{{- $management := $config.management | default dict }}
{{- $hosts := concat (include "layerwell.managementHosts" . | fromYamlArray) (.Values.management.hosts | default list) ($management.hosts | default list) }}
{{- $_ := set $config "management" (merge (dict "hosts" (uniq $hosts)) $management) }}
{{- if .Values.management.existingSecret }}
{{- $_ := set $forPods.management "tokenFile" "/run/secrets/layerwell/management/token" }}
{{- end }}
{{- if include "layerwell.tlsSecret" . }}
{{- $_ := set $forPods.listen "tls" (dict "certFile" "/run/secrets/layerwell/tls/tls.crt" "keyFile" "/run/secrets/layerwell/tls/tls.key") }}
{{- end }}
{{- if .Values.redis.index }}
{{- $_ := set $forPods "index" (merge (dict "driver" "redis") (include "layerwell.config.redis" . | fromYaml)) }}
{{- end }}
{{- range $upstream, $account := .Values.credentials }}
{{- if hasKey $config.upstreams $upstream }}
{{- $entry := get $config.upstreams $upstream | default dict }}
{{- $credentials := include "layerwell.config.credentials" (list $upstream $account) | fromYaml }}
{{- $_ := set $entry "credentials" (concat (list $credentials) ($entry.credentials | default list)) }}
{{- $_ := set $config.upstreams $upstream $entry }}
{{- end }}
{{- end }}
{{- if .Values.cluster.enabled }}
{{- $_ := set $forPods "cluster" (include "layerwell.config.cluster" . | fromYaml) }}
{{- end }}
{{- merge $config $forPods | toPrettyJson }}
{{- end }}

{{- /* The names of the headless Service, and those that it gives to replicas of a StatefulSet: the management API refuses names that it does not know. */}}
{{- define "layerwell.managementHosts" -}}
{{- $service := printf "%s-management" (include "layerwell.fullname" .) }}
{{- range $pod := ternary (list "" "${env:POD_NAME}.") (list "") (and .Values.cluster.enabled (eq .Values.kind "StatefulSet")) }}
{{- range $suffix := list "" (printf ".%s" $.Release.Namespace) (printf ".%s.svc" $.Release.Namespace) (printf ".%s.svc.cluster.local" $.Release.Namespace) }}
- {{ printf "%s%s%s" $pod $service $suffix | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.config.cluster" -}}
{{- $port := dig "cluster" "listen" "port" .Values.cluster.port .Values.config | int }}
listen:
  host: "::"
  port: {{ $port }}
{{- if include "layerwell.clusterTlsSecret" . }}
  tls:
    certFile: /run/secrets/layerwell/cluster-tls/tls.crt
    keyFile: /run/secrets/layerwell/cluster-tls/tls.key
tls:
  caFile: /run/secrets/layerwell/cluster-tls/ca.crt
{{- /* A certificate names pods, not their addresses. */}}
advertise: {{ printf "https://${env:POD_NAME}.%s-management.%s.svc:%v" (include "layerwell.fullname" .) .Release.Namespace $port | quote }}
{{- else }}
{{- /* The mirror adds the brackets of an IPv6 address. */}}
advertise: {{ printf "http://${env:POD_IP}:%v" $port | quote }}
{{- end }}
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

{{- /* An entry of `credentials` that reads the mounted Secret. Takes the upstream and its account. */}}
{{- define "layerwell.config.credentials" -}}
{{- $upstream := index . 0 }}
{{- $account := index . 1 }}
{{- $folder := include "layerwell.credentialsFolder" $upstream }}
{{- $defaults := dict "username" "username" "password" "password" "token" "token" "config" ".dockerconfigjson" "key" "key.json" }}
{{- $keys := merge (dict) ($account.keys | default dict) $defaults }}
kind: {{ $account.kind | default "basic" }}
{{- with $account.repositories }}
repositories:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if has $account.kind (list nil "" "basic" "gitlab") }}
username: {{ printf "${file:%s/%s}" $folder $keys.username | quote }}
{{- end }}
{{- if has $account.kind (list nil "" "basic") }}
passwordFile: {{ printf "%s/%s" $folder $keys.password }}
{{- else if has $account.kind (list "gitlab" "bearer-token") }}
tokenFile: {{ printf "%s/%s" $folder $keys.token }}
{{- else if eq $account.kind "docker-config" }}
configFile: {{ printf "%s/%s" $folder $keys.config }}
{{- else if eq $account.kind "google" }}
keyFile: {{ printf "%s/%s" $folder $keys.key }}
{{- end }}
{{- end }}

{{- define "layerwell.credentialsFolder" -}}
/run/secrets/layerwell/upstreams/{{ regexReplaceAll "[^A-Za-z0-9.-]" . "_" }}
{{- end }}

{{- /* The Secret with the certificate of the listener for clients; empty if it serves plain HTTP. */}}
{{- define "layerwell.tlsSecret" -}}
{{- if .Values.tls.existingSecret }}{{ .Values.tls.existingSecret }}
{{- else if .Values.tls.certManager.enabled }}{{ include "layerwell.fullname" . }}-tls
{{- end }}
{{- end }}

{{- /* The Secret with the certificate of the listener for other replicas; empty if it serves plain HTTP. */}}
{{- define "layerwell.clusterTlsSecret" -}}
{{- if .Values.cluster.tls.existingSecret }}{{ .Values.cluster.tls.existingSecret }}
{{- else if .Values.cluster.tls.certManager }}{{ include "layerwell.fullname" . }}-cluster-tls
{{- end }}
{{- end }}

{{- define "layerwell.scheme" -}}
{{- ternary "https" "http" (ne (dig "listen" "tls" "" (include "layerwell.config" . | fromJson) | toString) "") }}
{{- end }}
