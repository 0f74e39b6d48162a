{{- /* What the pods of the nodes have in common: those that write the files of container runtimes, and those that remove them. */}}
{{- define "layerwell.node.namespace" -}}
{{- default .Release.Namespace .Values.nodeConfiguration.namespace }}
{{- end }}

{{- /* Not the labels of the mirror's pods, which its Services and budgets select. */}}
{{- define "layerwell.node.selectorLabels" -}}
app.kubernetes.io/name: {{ include "layerwell.name" .root }}-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end }}

{{- /* The metadata of an object. Takes root, component and optionally annotations. */}}
{{- define "layerwell.node.metadata" -}}
name: {{ include "layerwell.fullname" .root }}-{{ .component }}
namespace: {{ include "layerwell.node.namespace" .root | quote }}
labels:
  {{- include "layerwell.node.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* How nodes reach the mirror, as JSON: as it is set, or else by an address of the Service that is known. */}}
{{- define "layerwell.node.mirrors" -}}
{{- $service := .Values.service }}
{{- $port := $service.port }}
{{- $host := "" }}
{{- if and $service.nodePort (ne $service.type "ClusterIP") }}
{{- $host = "{nodeIP}" }}{{ $port = $service.nodePort }}
{{- else if and (eq $service.type "LoadBalancer") $service.loadBalancerIP }}
{{- $host = $service.loadBalancerIP }}
{{- else if and (eq $service.type "ClusterIP") $service.clusterIP (ne $service.clusterIP "None") }}
{{- $host = $service.clusterIP }}
{{- end }}
{{- if contains ":" $host }}{{ $host = printf "[%s]" $host }}{{ end }}
{{- $own := ternary (list (printf "%s://%s:%v" (include "layerwell.scheme" .) $host $port)) list (ne $host "") }}
{{- .Values.nodeConfiguration.mirrors | default $own | toJson }}
{{- end }}

{{- /* The settings of the command `node-configuration`, as JSON. */}}
{{- define "layerwell.node.settings" -}}
{{- $node := .Values.nodeConfiguration }}
{{- $named := list }}
{{- range $name := keys (include "layerwell.config" . | fromJson).upstreams | sortAlpha }}
{{- if not (contains "*" $name) }}{{ $named = append $named $name }}{{ end }}
{{- end }}
{{- $registries := list }}
{{- range $node.registries | default $named }}
{{- $registries = append $registries (ternary (dict "name" .) . (kindIs "string" .)) }}
{{- end }}
{{- $settings := dict "owner" (printf "%s/%s" .Release.Namespace (include "layerwell.fullname" .)) "runtime" $node.runtime "mirrors" (include "layerwell.node.mirrors" . | fromJsonArray) "registries" $registries "everyRegistry" $node.everyRegistry "takeOver" $node.takeOver "takeOverFrom" ($node.takeOverFrom | default list) "dialTimeoutSeconds" (int $node.dialTimeoutSeconds) "intervalSeconds" (int $node.intervalSeconds) "folder" (include "layerwell.node.folder" .) "configFile" $node.configFile }}
{{- if or $node.ca.configMap $node.ca.secret }}{{ $_ := set $settings "caFile" (printf "/run/secrets/layerwell-ca/%s" $node.ca.key) }}{{ end }}
{{- toPrettyJson $settings }}
{{- end }}

{{- define "layerwell.node.folder" -}}
{{- $usual := dict "containerd" "/etc/containerd/certs.d" "crio" "/etc/containers/registries.conf.d" "k3s" "/etc/rancher/k3s" "rke2" "/etc/rancher/rke2" }}
{{- .Values.nodeConfiguration.folder | default (get $usual .Values.nodeConfiguration.runtime) }}
{{- end }}

{{- /* The pod on each node. Takes root, component and args. Only two folders of the node are mounted, one of them read-only. */}}
{{- define "layerwell.node.pod" -}}
{{- $root := .root }}
{{- $node := .root.Values.nodeConfiguration }}
{{- $folder := include "layerwell.node.folder" .root }}
{{- $readsConfig := and (eq $node.runtime "containerd") (ne (dir $node.configFile) $folder) }}
metadata:
  labels:
    {{- include "layerwell.node.selectorLabels" . | nindent 4 }}
    {{- with merge (dict) ($node.podLabels | default dict) (.root.Values.commonLabels | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/settings: {{ include "layerwell.node.settings" .root | sha256sum | quote }}
    {{- with $node.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 5
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $node.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" }}
  {{- with index $node $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  containers:
    - name: node-configuration
      image: {{ include "layerwell.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy | quote }}
      args: {{ concat (list "node-configuration" "--settings" "/etc/layerwell-node/settings.json" "--root" "/host" "--ready-file" "/run/layerwell/ready") .args | toJson }}
      env:
        - name: NODE_IP
          valueFrom:
            fieldRef:
              fieldPath: status.hostIP
      readinessProbe:
        exec:
          command: [test, -e, /run/layerwell/ready]
        periodSeconds: 2
      securityContext:
        {{- toYaml $node.securityContext | nindent 8 }}
      resources:
        {{- toYaml $node.resources | nindent 8 }}
      volumeMounts:
        - name: settings
          mountPath: /etc/layerwell-node
        {{- if or $node.ca.configMap $node.ca.secret }}
        - name: ca
          mountPath: /run/secrets/layerwell-ca
        {{- end }}
        - name: run
          mountPath: /run/layerwell
        {{- if $readsConfig }}
        - name: config
          mountPath: {{ printf "/host%s" (dir $node.configFile) | quote }}
          readOnly: true
        {{- end }}
        - name: folder
          mountPath: {{ printf "/host%s" ($folder) | quote }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "layerwell.fullname" .root }}-{{ .component }}
    {{- with $node.ca.secret }}
    - name: ca
      secret:
        secretName: {{ . | quote }}
    {{- end }}
    {{- with $node.ca.configMap }}
    - name: ca
      configMap:
        name: {{ . | quote }}
    {{- end }}
    - name: run
      emptyDir:
        medium: Memory
        sizeLimit: 1Mi
    {{- if $readsConfig }}
    - name: config
      hostPath:
        path: {{ dir $node.configFile | quote }}
        type: DirectoryOrCreate
    {{- end }}
    - name: folder
      hostPath:
        path: {{ $folder | quote }}
        type: DirectoryOrCreate
{{- end }}
