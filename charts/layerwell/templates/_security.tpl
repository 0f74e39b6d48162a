{{- /* OpenShift gives each namespace user ids of its own, and refuses pods that name others. */}}
{{- define "layerwell.isOpenShift" -}}
{{- $isThere := .Capabilities.APIVersions.Has "security.openshift.io/v1" }}
{{- if or (eq .Values.openshift "enabled") (and $isThere (eq .Values.openshift "auto")) }}yes{{ end }}
{{- end }}

{{- define "layerwell.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext | default dict }}
{{- if include "layerwell.isOpenShift" . }}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{- /* That of the mirror itself. Not every container runtime lets a user listen below port 1024; the restricted standard allows this sysctl. */}}
{{- define "layerwell.mirrorSecurityContext" -}}
{{- $context := include "layerwell.podSecurityContext" . | fromYaml }}
{{- $config := include "layerwell.config" . | fromJson }}
{{- if or (lt (int $config.listen.port) 1024) (lt (int $config.management.port) 1024) (lt (dig "cluster" "listen" "port" 5002 $config | int) 1024) }}
{{- $name := "net.ipv4.ip_unprivileged_port_start" }}
{{- $given := list }}
{{- range $context.sysctls }}{{ $given = append $given .name }}{{ end }}
{{- if not (has $name $given) }}
{{- $_ := set $context "sysctls" (append ($context.sysctls | default list) (dict "name" $name "value" "0")) }}
{{- end }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{- define "layerwell.securityContext" -}}
{{- $context := .Values.securityContext | default dict }}
{{- if include "layerwell.isOpenShift" . }}
{{- $context = omit $context "runAsUser" "runAsGroup" }}
{{- end }}
{{- toYaml $context }}
{{- end }}
