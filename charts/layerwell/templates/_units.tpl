{{- /* Seconds of a duration such as "1h30m", rounded up. */}}
{{- define "layerwell.seconds" -}}
{{- $scales := dict "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 }}
{{- $ms := 0 }}
{{- range regexFindAll "[0-9]+(ms|[dhms])" . -1 }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- $ms = add $ms (mul (trimSuffix $unit . | int64) (get $scales $unit)) }}
{{- end }}
{{- divf $ms 1000 | ceil }}
{{- end }}

{{- /* Bytes of a size such as "50GiB" or of a Kubernetes quantity such as "60Gi". */}}
{{- define "layerwell.bytes" -}}
{{- $bytes := regexFind "^[0-9.]+" . | float64 }}
{{- $step := ternary 1024 1000 (contains "i" .) }}
{{- $power := get (dict "k" 1 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5 "E" 6) (regexFind "[kKMGTPE]" .) | default 0 }}
{{- range until (int $power) }}{{ $bytes = mulf $bytes $step }}{{ end }}
{{- printf "%.0f" $bytes }}
{{- end }}

{{- /* How long a pod may take to stop: at least what the process takes. */}}
{{- define "layerwell.gracePeriodSeconds" -}}
{{- $shutdown := (include "layerwell.config" . | fromJson).shutdown }}
{{- $needed := add (include "layerwell.seconds" $shutdown.preStop) (include "layerwell.seconds" $shutdown.drain) }}
{{- .Values.terminationGracePeriodSeconds | default (add $needed 15) }}
{{- end }}
