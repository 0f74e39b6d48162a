{{- /* The pod of the StatefulSet or the Deployment: its metadata and spec. */}}
{{- define "layerwell.pod" -}}
{{- $config := include "layerwell.config" . | fromJson }}
metadata:
  labels:
    {{- /* Neither the version nor the chart: they would restart the pods for nothing. */}}
    {{- include "layerwell.selectorLabels" . | nindent 4 }}
    {{- with merge (dict) (.Values.podLabels | default dict) (.Values.commonLabels | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "layerwell.restartChecksum" . | quote }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "layerwell.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "layerwell.gracePeriodSeconds" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" }}
  {{- with index $.Values $key }}
  {{ $key }}: {{ toJson . }}
  {{- end }}
  {{- end }}
  {{- range $key := list "dnsConfig" "hostAliases" "initContainers" }}
  {{- with index $.Values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if not (kindIs "invalid" .Values.hostUsers) }}
  hostUsers: {{ .Values.hostUsers }}
  {{- end }}
  securityContext:
    {{- include "layerwell.mirrorSecurityContext" . | nindent 4 }}
  containers:
    - {{- include "layerwell.container" . | nindent 6 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "layerwell.volumes" . | nindent 4 }}
  {{- include "layerwell.scheduling" . | nindent 2 }}
{{- end }}

{{- define "layerwell.container" -}}
{{- $config := include "layerwell.config" . | fromJson }}
name: layerwell
image: {{ include "layerwell.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
{{- /* kubectl describe shows why the configuration was refused. */}}
terminationMessagePolicy: FallbackToLogsOnError
{{- with .Values.extraArgs }}
args:
  {{- concat (list "serve") . | toYaml | nindent 2 }}
{{- end }}
securityContext:
  {{- include "layerwell.securityContext" . | nindent 2 }}
ports:
  - name: registry
    containerPort: {{ int $config.listen.port }}
    {{- with .Values.hostPort }}
    hostPort: {{ . }}
    {{- end }}
  - name: management
    containerPort: {{ int $config.management.port }}
  {{- if .Values.cluster.enabled }}
  - name: cluster
    containerPort: {{ int $config.cluster.listen.port }}
  {{- end }}
startupProbe:
  httpGet:
    path: /healthz
    port: management
  {{- merge (dict) (.Values.probes.startup | default dict) (dict "periodSeconds" 1 "timeoutSeconds" 3 "failureThreshold" 120) | toYaml | nindent 2 }}
livenessProbe:
  httpGet:
    path: /healthz
    port: management
  {{- /* A process that hangs will not stop by itself. */}}
  {{- merge (dict) (.Values.probes.liveness | default dict) (dict "periodSeconds" 5 "timeoutSeconds" 5 "terminationGracePeriodSeconds" 1) | toYaml | nindent 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: management
  {{- /* The only replica stays reachable during shutdown.preStop, until it refuses connections. */}}
  {{- merge (dict) (.Values.probes.readiness | default dict) (dict "periodSeconds" 2 "timeoutSeconds" 3 "failureThreshold" 4) | toYaml | nindent 2 }}
{{- with include "layerwell.env" . }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: data
    mountPath: {{ $config.storage.path | quote }}
  {{- include "layerwell.configMounts" . | nindent 2 }}
{{- end }}

{{- define "layerwell.env" -}}
{{- if .Values.cluster.enabled }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- with .Values.bucket.existingSecret }}
{{- range $name, $key := dict "AWS_ACCESS_KEY_ID" $.Values.bucket.accessKeyIdKey "AWS_SECRET_ACCESS_KEY" $.Values.bucket.secretAccessKeyKey }}
- name: {{ $name | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.bucket.existingSecret | quote }}
      key: {{ $key | quote }}
{{- end }}
{{- end }}
{{- if or .Values.extraCA.configMap .Values.extraCA.secret }}
- name: NODE_EXTRA_CA_CERTS
  value: /run/secrets/layerwell/extra-ca/ca.crt
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
