{{- define "portside.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Call with (dict "root" $ "component" "gateway"). The operator lets the pods of these names and components
       through the network policies of the classes: neither can be changed by values. */}}
{{- define "portside.selectorLabels" -}}
app.kubernetes.io/name: portside
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "portside.labels" -}}
{{ include "portside.selectorLabels" . }}
app.kubernetes.io/part-of: portside
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Call with (dict "root" $ "image" .Values.image). A digest wins over a tag. */}}
{{- define "portside.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "portside.operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (printf "%s-operator" (include "portside.fullname" .)) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "portside.gateway.serviceAccountName" -}}
{{- if .Values.gateway.serviceAccount.create -}}
{{ default (printf "%s-gateway" (include "portside.fullname" .)) .Values.gateway.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.gateway.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- /* The API server of workers: its Deployment and Service, and what the names of its Secrets begin with. */}}
{{- define "portside.apiserver.name" -}}
{{ include "portside.fullname" . }}-apiserver
{{- end }}

{{- /* Its Secrets, which the operator makes. */}}
{{- define "portside.apiserver.secrets" -}}
{{- $name := include "portside.apiserver.name" . -}}
[{{ $name }}-ca, {{ $name }}-tls]
{{- end }}

{{- define "portside.apiserver.serviceAccountName" -}}
{{- if .Values.apiserver.serviceAccount.create -}}
{{ default (include "portside.apiserver.name" .) .Values.apiserver.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.apiserver.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- /* The components that are watched over, as a list in JSON. */}}
{{- define "portside.components" -}}
{{- $all := list "operator" "gateway" }}
{{- if .Values.apiserver.enabled }}
{{- $all = append $all "apiserver" }}
{{- end }}
{{- $all | toJson }}
{{- end }}

{{- /* Where a pod may run. Call with (dict "values" .Values.gateway "selector" (dict …)). */}}
{{- define "portside.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else if .selector }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- .selector | nindent 8 }}
{{- end }}
{{- end }}
