{{- /* What Kubernetes lets no upgrade change, compared with what is in the cluster. */}}
{{- define "layerwell.problems.upgrade" -}}
{{- $kubectl := printf "kubectl -n %s" .Release.Namespace }}
{{- $name := include "layerwell.fullname" . }}
{{- include "layerwell.problems.selector" (dict "root" . "kind" .Values.kind "name" $name "namespace" .Release.Namespace "labels" (include "layerwell.selectorLabels" .)) }}
{{- if .Values.nodeConfiguration.enabled }}
{{- include "layerwell.problems.selector" (dict "root" . "kind" "DaemonSet" "name" (printf "%s-node" $name) "namespace" (include "layerwell.node.namespace" .) "labels" (include "layerwell.node.selectorLabels" (dict "root" . "component" "node"))) }}
{{- end }}
{{- $had := dig "spec" "clusterIP" "" (lookup "v1" "Service" .Release.Namespace $name | default dict) }}
{{- if and $had .Values.service.clusterIP (ne $had .Values.service.clusterIP) }}
{{ printf "service.clusterIP: the Service has %s, and Kubernetes cannot change it. To do it: `%s delete service %s`, then upgrade again" $had $kubectl $name }}
{{- end }}
{{ include "layerwell.problems.volumes" . }}
{{- end }}

{{- /* Takes root, kind, name, namespace and labels. */}}
{{- define "layerwell.problems.selector" -}}
{{- $old := lookup "apps/v1" .kind .namespace .name }}
{{- if and $old (ne (dig "spec" "selector" "matchLabels" dict $old | toJson) (.labels | fromYaml | toJson)) }}
{{ printf "nameOverride: the selector would change. Kubernetes cannot change this in the %s %s. To do it: `kubectl -n %s delete %s %s`, then upgrade again. The volumes stay" .kind .name .namespace (lower .kind) .name }}
{{- end }}
{{- end }}

{{- define "layerwell.problems.volumes" -}}
{{- $name := include "layerwell.fullname" . }}
{{- $old := lookup "apps/v1" "StatefulSet" .Release.Namespace $name }}
{{- $kubectl := printf "kubectl -n %s" .Release.Namespace }}
{{- $remove := printf "`%s delete statefulset %s --cascade=orphan` (the pods keep running)" $kubectl $name }}
{{- if and $old (eq .Values.kind "Deployment") (dig "spec" "volumeClaimTemplates" nil $old) }}
{{ printf "kind: the replicas have volumes, which a Deployment does not use. To do it: %s, then upgrade again, and delete the pods %s-0 and so on with their claims data-%s-0 and so on (their cache is lost)" $remove $name $name }}
{{- end }}
{{- if and $old (eq .Values.kind "StatefulSet") }}
{{- $fixed := printf "Kubernetes cannot change this in the StatefulSet %s. To do it:" $name }}
{{- $had := $old.spec.volumeClaimTemplates | default list }}
{{- $has := include "layerwell.claimsVolumes" . }}
{{- if and $had (not $has) }}
{{ printf "persistence: the replicas have volumes. %s %s, then upgrade again, and delete the claims data-%s-0 and so on that nobody uses any more" $fixed $remove $name }}
{{- else if and $has (not $had) }}
{{ printf "persistence: the replicas have no volumes. %s %s, then upgrade again" $fixed $remove }}
{{- else if $had }}
{{- $spec := (first $had).spec }}
{{- $oldSize := $spec.resources.requests.storage | toString }}
{{- if ne (include "layerwell.bytes" $oldSize) (include "layerwell.bytes" .Values.persistence.size) }}
{{- if gt (include "layerwell.bytes" .Values.persistence.size | float64) (include "layerwell.bytes" $oldSize | float64) }}
{{- $patch := printf "{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}" .Values.persistence.size }}
{{ printf "persistence.size: the volumes have %s. %s `%s patch pvc data-%s-0 -p '%s'` for each replica (the storage class must allow expansion), then %s, then upgrade again" $oldSize $fixed $kubectl $name $patch $remove }}
{{- else }}
{{ printf "persistence.size: the volumes have %s, and no volume shrinks. %s %s, delete each pod with its claim data-%s-0 and so on (its cache is lost), then upgrade again" $oldSize $fixed $remove $name }}
{{- end }}
{{- end }}
{{- $old := dict "storageClass" ($spec.storageClassName | default "") "accessModes" ($spec.accessModes | join ",") "annotations" (dig "metadata" "annotations" dict (first $had) | toJson) }}
{{- $new := dict "storageClass" .Values.persistence.storageClass "accessModes" (.Values.persistence.accessModes | join ",") "annotations" (.Values.persistence.annotations | default dict | toJson) }}
{{- range $key := list "storageClass" "accessModes" "annotations" }}
{{- if ne (get $old $key) (get $new $key) }}
{{ printf "persistence.%s: the volumes have %q. %s %s, upgrade again, then, to have it for the old replicas too, delete each claim data-%s-0 and so on with its pod (its cache is lost)" $key (get $old $key) $fixed $remove $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
