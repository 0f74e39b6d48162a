{{- /* Problems of nodeConfiguration. */}}
{{- define "layerwell.problems.node" -}}
{{- $node := .Values.nodeConfiguration }}
{{- if $node.enabled }}
{{- $mirrors := include "layerwell.node.mirrors" . | fromJsonArray }}
{{- if not $mirrors }}
nodeConfiguration.mirrors: missing. Nodes cannot resolve names of services: set service.type=NodePort with service.nodePort, service.clusterIP, service.loadBalancerIP, or name how nodes reach the mirror
{{- end }}
{{- range $mirrors }}
{{- if and (hasPrefix "https://{nodeIP}" .) (not $node.mirrors) }}
nodeConfiguration.mirrors: missing. With TLS nodes need a name or address of the certificate
{{- end }}
{{- if regexMatch "^https?://[^/]*\\.svc(\\.|:|$)" . }}
{{ printf "nodeConfiguration.mirrors: nodes cannot resolve %s, the name of a service" . }}
{{- end }}
{{- end }}
{{- if and $node.ca.configMap $node.ca.secret }}
nodeConfiguration.ca: set configMap or secret, not both
{{- end }}
{{- end }}
{{- end }}
