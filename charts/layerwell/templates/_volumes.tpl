{{- /* Not empty if each replica of the StatefulSet claims a volume of its own. */}}
{{- define "layerwell.claimsVolumes" -}}
{{- if and .Values.persistence.enabled (eq .Values.persistence.existingClaim "") }}yes{{ end }}
{{- end }}

{{- define "layerwell.volumes" -}}
- name: config
  configMap:
    name: {{ include "layerwell.fullname" . | quote }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | quote }}
{{- else if not .Values.persistence.enabled }}
- name: data
  emptyDir:
    sizeLimit: {{ .Values.persistence.size }}
{{- end }}
{{- if .Values.cluster.enabled }}
- name: cluster-secret
  secret:
    secretName: {{ .Values.cluster.existingSecret | default (printf "%s-cluster" (include "layerwell.fullname" .)) | quote }}
    items:
      - key: {{ ternary .Values.cluster.secretKey "secret" (ne .Values.cluster.existingSecret "") | quote }}
        path: secret
      {{- with .Values.cluster.previousSecretKey }}
      - key: {{ . | quote }}
        path: previous-secret
      {{- end }}
{{- end }}
{{- if .Values.management.existingSecret }}
- name: management-token
  secret:
    secretName: {{ .Values.management.existingSecret | quote }}
    items:
      - key: {{ .Values.management.tokenKey | quote }}
        path: token
{{- end }}
{{- if .Values.redis.existingSecret }}
- name: redis-secret
  secret:
    secretName: {{ .Values.redis.existingSecret | quote }}
    items:
      {{- range $path, $key := dict "url" .Values.redis.urlKey "password" .Values.redis.passwordKey "sentinel-password" .Values.redis.sentinelPasswordKey }}
      {{- if $key }}
      - key: {{ $key | quote }}
        path: {{ $path | quote }}
      {{- end }}
      {{- end }}
{{- end }}
{{- if .Values.redis.tls.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ .Values.redis.tls.caSecret | quote }}
    items:
      - key: {{ .Values.redis.tls.caKey | quote }}
        path: ca.crt
{{- end }}
{{- with include "layerwell.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- if .Values.cluster.enabled }}
{{- with include "layerwell.clusterTlsSecret" . }}
- name: cluster-tls
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- end }}
{{- range $upstream, $account := .Values.credentials }}
- name: credentials-{{ sha256sum $upstream | trunc 8 }}
  secret:
    secretName: {{ $account.existingSecret | quote }}
{{- end }}
{{- if or .Values.extraCA.configMap .Values.extraCA.secret }}
- name: extra-ca
  {{- if .Values.extraCA.configMap }}
  configMap:
    name: {{ .Values.extraCA.configMap | quote }}
  {{- else }}
  secret:
    secretName: {{ .Values.extraCA.secret | quote }}
  {{- end }}
    items:
      - key: {{ .Values.extraCA.key | quote }}
        path: ca.crt
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What the container mounts, but for its data. */}}
{{- define "layerwell.configMounts" -}}
- name: config
  mountPath: /etc/layerwell
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if .Values.cluster.enabled }}
- name: cluster-secret
  mountPath: /run/secrets/layerwell/cluster
  readOnly: true
{{- end }}
{{- if .Values.management.existingSecret }}
- name: management-token
  mountPath: /run/secrets/layerwell/management
  readOnly: true
{{- end }}
{{- if .Values.redis.existingSecret }}
- name: redis-secret
  mountPath: /run/secrets/layerwell/redis
  readOnly: true
{{- end }}
{{- if .Values.redis.tls.caSecret }}
- name: redis-ca
  mountPath: /run/secrets/layerwell/redis-ca
  readOnly: true
{{- end }}
{{- if include "layerwell.tlsSecret" . }}
- name: tls
  mountPath: /run/secrets/layerwell/tls
  readOnly: true
{{- end }}
{{- if and .Values.cluster.enabled (include "layerwell.clusterTlsSecret" .) }}
- name: cluster-tls
  mountPath: /run/secrets/layerwell/cluster-tls
  readOnly: true
{{- end }}
{{- range $upstream, $_ := .Values.credentials }}
- name: credentials-{{ sha256sum $upstream | trunc 8 }}
  mountPath: {{ include "layerwell.credentialsFolder" $upstream | quote }}
  readOnly: true
{{- end }}
{{- if or .Values.extraCA.configMap .Values.extraCA.secret }}
- name: extra-ca
  mountPath: /run/secrets/layerwell/extra-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
