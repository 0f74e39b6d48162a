{{- /* Problems of what is in front of the pods: Service, Ingress, HTTPRoute, certificates. */}}
{{- define "layerwell.problems.network" -}}
{{- $service := .Values.service }}
{{- if eq $service.type "ClusterIP" }}
{{- range $key := list "nodePort" "externalTrafficPolicy" }}
{{- if index $service $key }}
{{ printf "service.%s: a ClusterIP has none. Set service.type to NodePort or LoadBalancer" $key }}
{{- end }}
{{- end }}
{{- end }}
{{- if ne $service.type "LoadBalancer" }}
{{- range $key := list "loadBalancerClass" "loadBalancerIP" "loadBalancerSourceRanges" "allocateLoadBalancerNodePorts" }}
{{- if not (or (kindIs "invalid" (index $service $key)) (eq (index $service $key | toString) "") (eq (index $service $key | toString) "[]")) }}
{{ printf "service.%s: a %s has none. Set service.type to LoadBalancer" $key $service.type }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq $service.clusterIP "None") (or (ne $service.type "ClusterIP") .Values.ingress.enabled) }}
service.clusterIP: None leaves no address for a NodePort, a LoadBalancer or an Ingress
{{- end }}
{{- if and $service.sessionAffinityConfig (ne $service.sessionAffinity "ClientIP") }}
service.sessionAffinityConfig: only for sessionAffinity ClientIP
{{- end }}
{{- if and (gt (len ($service.ipFamilies | default list)) 1) (has $service.ipFamilyPolicy (list "" "SingleStack")) }}
service.ipFamilies: a Service has two with ipFamilyPolicy PreferDualStack or RequireDualStack only
{{- end }}
{{- if and (eq .Values.dnsPolicy "None") (not (dig "nameservers" list (.Values.dnsConfig | default dict))) }}
dnsConfig.nameservers: missing. With dnsPolicy None there is no other
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
ingress.hosts: missing. Name the hosts under which clients reach the mirror
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
httpRoute.parentRefs: missing. Name the Gateway
{{- end }}
{{- $manager := .Values.tls.certManager }}
{{- if and $manager.enabled .Values.tls.existingSecret }}
tls: set existingSecret or certManager.enabled, not both
{{- end }}
{{- if and (or $manager.enabled .Values.cluster.tls.certManager) (not $manager.issuerRef.name) }}
tls.certManager.issuerRef.name: missing
{{- end }}
{{- $clusterTls := .Values.cluster.tls }}
{{- if and $clusterTls.existingSecret $clusterTls.certManager }}
cluster.tls: set existingSecret or certManager, not both
{{- end }}
{{- if and (include "layerwell.clusterTlsSecret" .) (eq .Values.kind "Deployment") (not (dig "cluster" "advertise" "" .Values.config)) }}
cluster.tls: the pods of a Deployment have no names for a certificate. Use kind=StatefulSet, or set config.cluster.advertise
{{- end }}
{{- if and .Values.extraCA.configMap .Values.extraCA.secret }}
extraCA: set configMap or secret, not both
{{- end }}
{{- end }}

{{- define "layerwell.problems.credentials" -}}
{{- $upstreams := (include "layerwell.config" . | fromJson).upstreams }}
{{- range $name, $account := .Values.credentials }}
{{- if not (hasKey $upstreams $name) }}
{{ printf "credentials: config.upstreams has no %q" $name }}
{{- else if not (get $upstreams $name).visibility }}
{{ printf "config.upstreams[%q].visibility: missing. With credentials it must say \"public\" (they only raise the rate limit) or \"service\" (what they can read is for every client)" $name }}
{{- end }}
{{- end }}
{{- end }}
