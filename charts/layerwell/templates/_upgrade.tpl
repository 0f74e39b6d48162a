{{- /* Changes when the pods must restart. They read changes of all other sections by themselves. */}}
{{- define "layerwell.restartChecksum" -}}
{{- $config := include "layerwell.config" . | fromJson }}
{{- pick $config "listen" "management" "storage" "index" "cluster" "download" "clients" "events" | toJson | sha256sum }}
{{- end }}

{{- /* The labels of the pods of hooks. Not those of the mirror: its Services would send requests here. */}}
{{- define "layerwell.hookLabels" -}}
app.kubernetes.io/name: {{ include "layerwell.name" . }}-upgrade
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* A Job that helm waits for. Takes root, suffix, events, timeoutSeconds, args, env (whether it gets the mirror's), volumes and volumeMounts. */}}
{{- define "layerwell.hookJob" -}}
{{- $root := .root }}
{{- $annotations := dict
  "helm.sh/hook" .events
  "helm.sh/hook-weight" "5"
  "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded"
  "helm.sh/hook-output-log-policy" "hook-succeeded,hook-failed" }}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "layerwell.metadata" (dict "root" $root "suffix" .suffix "component" "upgrade" "annotations" $annotations) | nindent 2 }}
spec:
  backoffLimit: 0
  activeDeadlineSeconds: {{ .timeoutSeconds }}
  template:
    metadata:
      labels:
        {{- include "layerwell.hookLabels" $root | nindent 8 }}
        {{- with $root.Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      restartPolicy: Never
      {{- if not $root.Values.serviceAccount.create }}
      serviceAccountName: {{ include "layerwell.serviceAccountName" $root | quote }}
      {{- end }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" }}
      {{- with index $root.Values $key }}
      {{ $key }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" }}
      {{- with index $root.Values $key }}
      {{ $key }}: {{ toJson . }}
      {{- end }}
      {{- end }}
      securityContext:
        {{- include "layerwell.podSecurityContext" $root | nindent 8 }}
      containers:
        - name: layerwell
          image: {{ include "layerwell.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy | quote }}
          args: {{ .args | toJson }}
          terminationMessagePolicy: FallbackToLogsOnError
          securityContext:
            {{- include "layerwell.securityContext" $root | nindent 12 }}
          resources:
            {{- toYaml $root.Values.upgrade.resources | nindent 12 }}
          {{- with .env }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          {{- with .envFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            {{- .volumeMounts | nindent 12 }}
      volumes:
        {{- .volumes | nindent 8 }}
{{- end }}

{{- /*
When the configuration is checked; empty: never. The check needs the Secrets of the mirror. Not before the release first makes them: those of
cert-manager, and those among extraObjects.
*/}}
{{- define "layerwell.checkEvents" -}}
{{- $secrets := list }}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.existingSecret) }}{{ $secrets = append $secrets "tls" }}{{ end }}
{{- if and .Values.cluster.enabled .Values.cluster.tls.certManager (not .Values.cluster.tls.existingSecret) }}{{ $secrets = append $secrets "cluster-tls" }}{{ end }}
{{- $isMissing := false }}
{{- range $secrets }}
{{- if not (lookup "v1" "Secret" $.Release.Namespace (printf "%s-%s" (include "layerwell.fullname" $) .)) }}{{ $isMissing = true }}{{ end }}
{{- end }}
{{- if and .Values.upgrade.check.enabled (not $isMissing) }}
{{- ternary "pre-upgrade" "pre-install,pre-upgrade" (not (empty .Values.extraObjects)) }}
{{- end }}
{{- end }}

{{- /* The variables of the mirror, but the options of Node: what they load may be on a volume that the check does not have. */}}
{{- define "layerwell.checkEnv" -}}
{{- $mayHaveOptions := not (empty .Values.extraEnvFrom) }}
{{- $variables := list }}
{{- range include "layerwell.env" . | fromYamlArray }}
{{- if eq .name "NODE_OPTIONS" }}{{ $mayHaveOptions = true }}
{{- else }}{{ $variables = append $variables . }}
{{- end }}
{{- end }}
{{- if $mayHaveOptions }}{{ $variables = append $variables (dict "name" "NODE_OPTIONS" "value" "") }}{{ end }}
{{- with $variables }}{{ toYaml . }}{{ end }}
{{- end }}

{{- /* The volumes of the mirror, but the configuration of this upgrade, and none that only one pod may have. */}}
{{- define "layerwell.checkVolumes" -}}
{{- $name := printf "%s-check" (include "layerwell.fullname" .) }}
{{- $volumes := list }}
{{- range include "layerwell.volumes" . | fromYamlArray }}
{{- if eq .name "config" }}
{{- $volumes = append $volumes (dict "name" .name "configMap" (dict "name" $name "items" (list (dict "key" "mirror.config.json" "path" "mirror.config.json")))) }}
{{- else if and (eq .name "cluster-secret") (not $.Values.cluster.existingSecret) }}
{{- /* The release makes it later. */}}
{{- $volumes = append $volumes (dict "name" .name "configMap" (dict "name" $name "items" (list (dict "key" "cluster-secret" "path" "secret")))) }}
{{- else if .persistentVolumeClaim }}
{{- if ne .name "data" }}{{ $volumes = append $volumes (dict "name" .name "emptyDir" dict) }}{{ end }}
{{- else if ne .name "data" }}
{{- $volumes = append $volumes . }}
{{- end }}
{{- end }}
{{- toYaml $volumes }}
{{- end }}
