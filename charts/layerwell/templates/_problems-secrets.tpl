{{- /* The configuration is in a ConfigMap, which more people can read than a Secret: no secret may be in it. Takes the path and what is there. */}}
{{- define "layerwell.problems.secrets" -}}
{{- $path := index . 0 }}
{{- $node := index . 1 }}
{{- if kindIs "map" $node }}
{{- range $key, $value := $node }}
{{- $own := printf "%s.%s" $path $key }}
{{- $isSecret := and (has $key (list "password" "token" "secret" "previousSecret" "sentinelPassword")) (not (hasSuffix ".timeouts" $path)) }}
{{- if and $isSecret (kindIs "string" $value) (not (contains "${" $value)) }}
{{ printf "%s: a secret, which would be in a ConfigMap. %s" $own (include "layerwell.secretInstead" $own) }}
{{- else }}
{{ include "layerwell.problems.secrets" (list $own $value) }}
{{- end }}
{{- end }}
{{- else if kindIs "slice" $node }}
{{- range $index, $value := $node }}
{{ include "layerwell.problems.secrets" (list (printf "%s.%d" $path $index) $value) }}
{{- end }}
{{- else if kindIs "string" $node }}
{{- $password := regexFind "^[a-z]+://[^/@]*:[^/@]+@" $node }}
{{- if and $password (not (contains "${" $password)) }}
{{ printf "%s: a password in a URL, which would be in a ConfigMap. %s" $path (include "layerwell.secretInstead" $path) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.secretInstead" -}}
{{- if or (hasPrefix "config.cluster.redis." .) (hasPrefix "config.index." .) -}}
Use redis.existingSecret
{{- else if hasPrefix "config.cluster." . -}}
Use cluster.existingSecret
{{- else if and (contains ".credentials." .) (not (contains ".mirrors." .)) -}}
Use credentials, which names an existing Secret, or ${env:NAME} with extraEnvFrom
{{- else -}}
Use ${env:NAME} with extraEnvFrom
{{- end }}
{{- end }}
