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
{{ include "layerwell.bracketed" ($service.loadBalancerIP | default $address) }}:{{ $service.port }}
{{- else if eq $service.clusterIP "None" -}}
{{ include "layerwell.fullname" . }}.{{ .Release.Namespace }}.svc:{{ $service.port }}
{{- else }}
{{- $address := dig "spec" "clusterIP" ($service.clusterIP | default "CLUSTER_IP") $live -}}
{{ include "layerwell.bracketed" $address }}:{{ $service.port }}
{{- end }}
{{- end }}

{{- define "layerwell.bracketed" -}}
{{- ternary (printf "[%s]" .) . (contains ":" .) }}
{{- end }}

{{- /* A registry that is mirrored, for examples: Docker Hub if it is. */}}
{{- define "layerwell.exampleRegistry" -}}
{{- $registry := "REGISTRY" }}
{{- $names := keys (include "layerwell.config" . | fromJson).upstreams | sortAlpha }}
{{- range $names }}{{ if and (eq $registry "REGISTRY") (not (contains "*" .)) }}{{ $registry = . }}{{ end }}{{ end }}
{{- ternary "docker.io" $registry (has "docker.io" $names) }}
{{- end }}

{{- /* Not empty if names without a registry, which are all that dockerd asks a mirror for, are those of Docker Hub. */}}
{{- define "layerwell.defaultsToHub" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- if hasKey $config.upstreams "docker.io" }}
{{- $names := concat (list "" "docker.io" "index.docker.io" "registry-1.docker.io") (dig "docker.io" "aliases" list $config.upstreams | default list) }}
{{- if has ($config.defaultUpstream | default "") $names }}yes{{ end }}
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
