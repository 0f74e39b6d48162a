{{- /* Problems of the configuration that only matter in a pod. */}}
{{- define "layerwell.problems.listeners" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- $listeners := dict "config.listen" $config.listen "config.management" $config.management }}
{{- if .Values.cluster.enabled }}{{ $_ := set $listeners "config.cluster.listen" $config.cluster.listen }}{{ end }}
{{- $owners := dict }}
{{- range $key, $listener := $listeners }}
{{- $host := regexReplaceAll "^\\[(.*)\\]$" $listener.host "${1}" }}
{{- if regexMatch "(?i)^(127\\..*|localhost\\.?|.*\\.localhost\\.?|[0:]*:0*1|[0:]*:ffff:127\\..*)$" $host }}
{{ printf "%s.host: %s is reached from within the pod only. Use \"::\"" $key $listener.host }}
{{- else if regexMatch "^([0-9]+\\.[0-9.]+|[0-9a-fA-F.]*:[0-9a-fA-F:.]*)$" $host }}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|[0:]*::[0:]*)$" $host) }}
{{ printf "%s.host: %s is the address of one pod at most. Use \"::\"" $key $listener.host }}
{{- end }}
{{- end }}
{{- $port := int $listener.port | toString }}
{{- if hasKey $owners $port }}
{{ printf "%s.port: %s is the port of %s too" $key $port (get $owners $port) }}
{{- end }}
{{- $_ := set $owners $port $key }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.management" -}}
{{- if and .Values.management.existingSecret (dig "management" "tokenFile" "" .Values.config) }}
config.management.tokenFile: management.existingSecret names the token too. Set one of them
{{- end }}
{{- end }}

{{- define "layerwell.problems.storage" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- $path := $config.storage.path }}
{{- $taken := "^/(tmp|etc|app|usr|bin|sbin|lib|lib64|proc|sys|dev|run|var/run)(/|$)" }}
{{- $mounts := list }}
{{- range .Values.extraVolumeMounts }}{{ $mounts = append $mounts (clean .mountPath) }}{{ end }}
{{- if or (not (hasPrefix "/" $path)) (contains "${" $path) (regexMatch "[:[:cntrl:]]" $path) }}
{{ printf "config.storage.path: %s is not an absolute path, at which a volume could be mounted. Use /data" $path }}
{{- else if or (eq (clean $path) "/") (regexMatch $taken (clean $path)) }}
{{ printf "config.storage.path: a volume at %s would hide files of the image, or be hidden. Use /data" $path }}
{{- else if has (clean $path) $mounts }}
{{ printf "config.storage.path: extraVolumeMounts mounts something else at %s" $path }}
{{- end }}
{{- with (dig "index" "path" "" $config) }}
{{- $index := clean . }}
{{- $isWritable := or (hasPrefix (printf "%s/" (clean $path)) $index) (contains "${" .) }}
{{- range $mounts }}{{ if hasPrefix (printf "%s/" .) $index }}{{ $isWritable = true }}{{ end }}{{ end }}
{{- if not $isWritable }}
{{ printf "config.index.path: %s is not on a volume, and the root filesystem of the pod is read-only. Put it below %s, or mount a volume there" . $path }}
{{- end }}
{{- end }}
{{- if not (or $.Values.persistence.existingClaim (contains "${" (printf "%v%v" $config.storage.maxSize $config.storage.minFree))) }}
{{- $needed := include "layerwell.bytes" ($config.storage.maxSize | default "50GiB") | float64 }}
{{- if .Values.persistence.enabled }}
{{- $needed = addf $needed (include "layerwell.bytes" ($config.storage.minFree | default "2GiB")) }}
{{- end }}
{{- if gt $needed (include "layerwell.bytes" .Values.persistence.size | float64) }}
{{ printf "persistence.size: %s is less than config.storage.maxSize (%s) and minFree (%s) together" .Values.persistence.size ($config.storage.maxSize | default "50GiB") ($config.storage.minFree | default "2GiB") }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The API server refuses a name or a place that is there twice, and a mount of no volume. */}}
{{- define "layerwell.problems.mounts" -}}
{{- $extra := .Values.extraVolumeMounts | default list }}
{{- $mounts := include "layerwell.configMounts" . | fromYamlArray }}
{{- $taken := list }}
{{- range slice $mounts 0 (sub (len $mounts) (len $extra) | int) }}{{ $taken = append $taken .mountPath }}{{ end }}
{{- $volumes := list "data" }}
{{- range include "layerwell.volumes" . | fromYamlArray }}{{ $volumes = append $volumes .name }}{{ end }}
{{- range $extra }}
{{- if has (clean .mountPath) $taken }}
{{ printf "extraVolumeMounts: something else is mounted at %s" (clean .mountPath) }}
{{- end }}
{{- $taken = append $taken (clean .mountPath) }}
{{- if not (has .name $volumes) }}
{{ printf "extraVolumeMounts: no volume has the name %s" .name }}
{{- end }}
{{- end }}
{{- $names := list }}
{{- range .Values.extraVolumes }}
{{- if has .name $names }}
{{ printf "extraVolumes: two have the name %s" .name }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.tests" -}}
{{- if and .Values.tests.image (not (include "layerwell.mirrors" (list . .Values.tests.image))) }}
{{ printf "tests.image: no upstream mirrors %s. Name an image of one of config.upstreams" .Values.tests.image }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.shutdown" -}}
{{- $shutdown := (include "layerwell.config" . | fromJson).shutdown }}
{{- range $key := list "preStop" "drain" }}
{{- if and (contains "${" (index $shutdown $key)) (not $.Values.terminationGracePeriodSeconds) }}
{{ printf "config.shutdown.%s: the chart does not know %s. Set terminationGracePeriodSeconds to more than preStop and drain take together" $key (index $shutdown $key) }}
{{- end }}
{{- end }}
{{- $needed := add (include "layerwell.seconds" $shutdown.preStop) (include "layerwell.seconds" $shutdown.drain) }}
{{- with .Values.terminationGracePeriodSeconds }}
{{- if le (int .) (int $needed) }}
{{ printf "terminationGracePeriodSeconds: %d is too short. config.shutdown.preStop and drain take %d s; leave it empty, or set more" (int .) (int $needed) }}
{{- end }}
{{- end }}
{{- end }}
