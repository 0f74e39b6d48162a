{{- /* The address and port of the mirror for a node. What only the cluster knows is asked for there, or named in capitals. */}}
{{- define "layerwell.address" -}}
{{- $service := .Values.service }}
{{- $live := lookup "v1" "Service" .Release.Namespace (include "layerwell.fullname" .) | default dict }}
{{- if .Values.hostPort -}}
127.0.0.1:{{ .Values.hostPort }}
{{- else if eq $service.type "NodePort" }}
{{- $port := "NODE_PORT" }}
{{- range dig "spec" "ports" list $live }}{{ if .nodePort }}{{ $port = int .nodePort }}{{ end }}{{ end -}}
NODE_ADDRESS:{{ $service.nodePort | default $port }}
{{- else if eq $service.type "LoadBalancer" }}
{{- $address := "LOAD_BALANCER" }}
{{- range dig "status" "loadBalancer" "ingress" list $live }}{{ $address = .ip | default .hostname }}{{ end -}}
{{ $service.loadBalancerIP | default $address }}:{{ $service.port }}
{{- else if eq $service.clusterIP "None" -}}
{{ include "layerwell.fullname" . }}.{{ .Release.Namespace }}.svc:{{ $service.port }}
{{- else }}
{{- $address := dig "spec" "clusterIP" "CLUSTER_IP" $live }}
{{- if contains ":" $address }}{{ $address = printf "[%s]" $address }}{{ end -}}
{{ $address }}:{{ $service.port }}
{{- end }}
{{- end }}

{{- /* How to learn what the address leaves open, and what to know about it. */}}
{{- define "layerwell.addressHint" -}}
{{- $address := include "layerwell.address" . }}
{{- $get := printf "kubectl -n %s get service %s -o jsonpath=" .Release.Namespace (include "layerwell.fullname" .) }}
{{- if contains "NODE_PORT" $address -}}
NODE_PORT is {{ $get }}'{.spec.ports[0].nodePort}', NODE_ADDRESS that of the node itself.
{{- else if contains "NODE_ADDRESS" $address -}}
NODE_ADDRESS is the address of the node itself.
{{- else if contains "LOAD_BALANCER" $address -}}
LOAD_BALANCER is {{ $get }}'{.status.loadBalancer.ingress[0]}'
{{- else if contains "CLUSTER_IP" $address -}}
CLUSTER_IP is {{ $get }}'{.spec.clusterIP}'. Nodes cannot resolve names of services.
{{- else if and (not .Values.hostPort) (eq .Values.service.type "ClusterIP") -}}
Nodes cannot resolve names of services, but reach their addresses.
{{- end }}
{{- end }}
