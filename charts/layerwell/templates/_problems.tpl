{{- /* One problem a line, each with its key and what to do. */}}
{{- define "layerwell.problems" -}}
{{ include "layerwell.problems.names" . }}
{{ include "layerwell.problems.labels" . }}
{{ include "layerwell.problems.replicas" . }}
{{ include "layerwell.problems.cluster" . }}
{{ include "layerwell.problems.secrets" (list "config" (include "layerwell.config" . | fromJson)) }}
{{ include "layerwell.problems.listeners" . }}
{{ include "layerwell.problems.management" . }}
{{ include "layerwell.problems.storage" . }}
{{ include "layerwell.problems.mounts" . }}
{{ include "layerwell.problems.shutdown" . }}
{{ include "layerwell.problems.network" . }}
{{ include "layerwell.problems.credentials" . }}
{{ include "layerwell.problems.tests" . }}
{{ include "layerwell.problems.node" . }}
{{ include "layerwell.problems.upgrade" . }}
{{- end }}

{{- /* Services are named after the release. */}}
{{- define "layerwell.problems.names" -}}
{{- $name := include "layerwell.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- $from := ternary "nameOverride" (printf "the release %q" .Release.Name) (ne .Values.nameOverride "") }}
{{ printf "%s: %s cannot be the name of a Service. Set fullnameOverride to lower-case letters, digits and -, beginning with a letter" $from $name }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.labels" -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "nodeConfiguration.podLabels" .Values.nodeConfiguration.podLabels }}
{{- range $key, $_ := $labels }}
{{- if has $key $own }}
{{ printf "%s: the chart itself sets %s" $value $key }}
{{- end }}
{{- end }}
{{- end }}
{{ include "layerwell.problems.keys" . }}
{{- range $key := list "extraVolumes" "extraVolumeMounts" "extraContainers" "initContainers" }}
{{- range index $.Values $key }}
{{- if has (.name | default "") (ternary (list "layerwell") (list "config" "tmp" "data" "tls" "cluster-secret" "cluster-tls" "management-token" "redis-secret" "redis-ca" "extra-ca") (hasSuffix "ontainers" $key)) }}
{{- if not (and (eq $key "extraVolumeMounts") .subPath) }}
{{ printf "%s: the chart itself has one with the name %s" $key .name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if hasKey (.Values.podAnnotations | default dict) "checksum/config" }}
podAnnotations: the chart itself sets checksum/config
{{- end }}
{{- if hasKey (.Values.nodeConfiguration.podAnnotations | default dict) "checksum/settings" }}
nodeConfiguration.podAnnotations: the chart itself sets checksum/settings
{{- end }}
{{- $variables := list }}
{{- range include "layerwell.env" . | fromYamlArray }}
{{- if has .name $variables }}
{{ printf "extraEnv: %s is already set, by the chart or another entry" .name }}
{{- end }}
{{- $variables = append $variables .name }}
{{- end }}
{{- end }}

{{- /* Keys of labels and annotations that Kubernetes refuses. */}}
{{- define "layerwell.problems.keys" -}}
{{- $values := .Values }}
{{- $node := .Values.nodeConfiguration }}
{{- $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "nodeSelector" .Values.nodeSelector "nodeConfiguration.podLabels" $node.podLabels "nodeConfiguration.nodeSelector" $node.nodeSelector }}
{{- $annotations := dict "commonAnnotations" .Values.commonAnnotations "podAnnotations" .Values.podAnnotations "nodeConfiguration.podAnnotations" $node.podAnnotations }}
{{- range $name := list "serviceMonitor" "podMonitor" "prometheusRule" "dashboard" }}
{{- $_ := set $labels (printf "%s.labels" $name) (index $values $name).labels }}
{{- end }}
{{- range $name := list "service" "ingress" "httpRoute" "persistence" "serviceAccount" "serviceMonitor" "podMonitor" "prometheusRule" "dashboard" }}
{{- $_ := set $annotations (printf "%s.annotations" $name) (index $values $name).annotations }}
{{- end }}
{{- range $what, $maps := dict "a label" $labels "an annotation" $annotations }}
{{- range $value, $map := $maps }}
{{- range $key, $_ := $map }}
{{- if not (regexMatch "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" $key) }}
{{ printf "%s: %s is not the key of %s" $value ($key | quote) $what }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.replicas" -}}
{{- $claim := .Values.persistence.existingClaim }}
{{- if and (eq .Values.kind "Deployment") .Values.persistence.enabled (not $claim) }}
persistence.enabled: a Deployment cannot have a volume for each replica. Set persistence.enabled=false for an emptyDir, or kind=StatefulSet
{{- end }}
{{- if and $claim (not .Values.persistence.enabled) }}
persistence.existingClaim: persistence.enabled is false
{{- end }}
{{- if and $claim (gt (int .Values.replicaCount) 1) }}
{{ printf "persistence.existingClaim: %d replicas cannot share one volume, because a store belongs to one process. Set replicaCount=1, or let the StatefulSet create the volumes" (int .Values.replicaCount) }}
{{- end }}
{{- $strategy := dig "type" "" (.Values.updateStrategy | default dict) }}
{{- if or (and (eq .Values.kind "StatefulSet") (eq $strategy "Recreate")) (and (eq .Values.kind "Deployment") (eq $strategy "OnDelete")) }}
{{ printf "updateStrategy.type: a %s has no %s" .Values.kind $strategy }}
{{- end }}
{{- if and $claim (eq .Values.kind "Deployment") (eq $strategy "RollingUpdate") }}
updateStrategy.type: RollingUpdate would run two pods on one volume, but a store belongs to one process. Leave it empty, or use Recreate
{{- end }}
{{- $scaling := .Values.autoscaling }}
{{- $least := ternary $scaling.minReplicas .Values.replicaCount $scaling.enabled | int }}
{{- if $scaling.enabled }}
{{- if ne .Values.kind "Deployment" }}
autoscaling.enabled: the replicas of a StatefulSet keep their caches on volumes, and new ones start empty. Use kind=Deployment with a bucket
{{- end }}
{{- if $claim }}
autoscaling.enabled: replicas cannot share persistence.existingClaim
{{- end }}
{{- if gt $least (int $scaling.maxReplicas) }}
{{ printf "autoscaling: minReplicas %d is more than maxReplicas %d" $least (int $scaling.maxReplicas) }}
{{- end }}
{{- if and $scaling.targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" (.Values.resources | default dict))) }}
autoscaling.targetCPUUtilizationPercentage: a percentage of resources.requests.cpu, which is empty
{{- end }}
{{- if not (or $scaling.targetCPUUtilizationPercentage $scaling.targetMemoryUtilizationPercentage $scaling.metrics) }}
autoscaling: nothing to scale by. Set targetCPUUtilizationPercentage or metrics
{{- end }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
podMonitor.enabled: serviceMonitor.enabled too, so every metric would be scraped twice
{{- end }}
{{- $budget := .Values.podDisruptionBudget }}
{{- if $budget.enabled }}
{{- if and (not (kindIs "invalid" $budget.minAvailable)) (not (kindIs "invalid" $budget.maxUnavailable)) }}
podDisruptionBudget: set minAvailable or maxUnavailable, not both
{{- end }}
{{- $stay := $budget.minAvailable | toString }}
{{- if hasSuffix "%" $stay }}{{ $stay = divf (mul (trimSuffix "%" $stay | int) $least) 100 | ceil | int }}{{ end }}
{{- if and (not (kindIs "invalid" $budget.minAvailable)) (gt $least 0) (ge (int $stay) $least) }}
{{ printf "podDisruptionBudget.minAvailable: %v of %d replicas must stay, so no node could be drained" $budget.minAvailable $least }}
{{- end }}
{{- if regexMatch "^0+%?$" ($budget.maxUnavailable | toString) }}
{{ printf "podDisruptionBudget.maxUnavailable: %v lets no replica go, so no node could be drained" $budget.maxUnavailable }}
{{- end }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.cluster" -}}
{{- $redis := .Values.redis }}
{{- $ways := list }}
{{- range $key := list "url" "sentinels" "nodes" }}
{{- if index $redis $key }}{{ $ways = append $ways $key }}{{ end }}
{{- end }}
{{- if and $redis.existingSecret $redis.urlKey }}{{ $ways = append $ways "urlKey" }}{{ end }}
{{- if and .Values.cluster.enabled (not $ways) (not (dig "cluster" "redis" nil .Values.config)) (ne (dig "index" "driver" "" .Values.config) "redis") }}
cluster.enabled: replicas find each other by Redis. Set redis.url, redis.sentinels, redis.nodes, or redis.existingSecret with redis.urlKey
{{- end }}
{{- if and (dig "cluster" nil .Values.config) (not .Values.cluster.enabled) }}
config.cluster: set cluster.enabled=true, which opens its port
{{- end }}
{{- if and .Values.redis.index (not $ways) }}
redis.index: set redis.url, redis.sentinels, redis.nodes, or redis.existingSecret with redis.urlKey
{{- end }}
{{- if and .Values.redis.index (eq (dig "index" "driver" "redis" .Values.config) "sqlite") }}
redis.index: config.index.driver is sqlite
{{- end }}
{{- if gt (len $ways) 1 }}
{{ printf "redis: set one of %s" (join ", " $ways) }}
{{- end }}
{{- if and $redis.sentinels (not $redis.name) }}
redis.name: missing. It is the name of the primary that the Sentinels watch
{{- end }}
{{- if and (or $redis.name $redis.sentinelPasswordKey) (not $redis.sentinels) }}
redis.sentinels: missing. Only Sentinels have a name of the primary, and a password of their own
{{- end }}
{{- if and $redis.urlKey (not $redis.existingSecret) }}
redis.urlKey: redis.existingSecret is empty
{{- end }}
{{- if and .Values.cluster.previousSecretKey (not .Values.cluster.existingSecret) }}
cluster.previousSecretKey: cluster.existingSecret is empty
{{- end }}
{{- end }}
