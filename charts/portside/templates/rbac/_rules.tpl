{{- /* What the operator may do in a namespace whose classes it looks after. It reads no Secrets: pods get
       them by name, from the kubelet. */}}
{{- define "portside.operator.rules" -}}
{{- $all := list "get" "list" "watch" "create" "patch" "delete" }}
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses]
  verbs: [get, list, watch, patch]
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses/status]
  verbs: [patch]
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: {{ $all | toJson }}
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: {{ $all | toJson }}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  # For the annotation that says which pod goes first. With it goes no right to change what pods run.
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: {{ $all | toJson }}
- apiGroups: [discovery.k8s.io]
  # OpenShift asks for this of whoever writes addresses into an EndpointSlice.
  resources: [endpointslices/restricted]
  verbs: [create]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: {{ $all | toJson }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: {{ $all | toJson }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: {{ $all | toJson }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: {{ $all | toJson }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* What the operator may do with classes wherever they are, where its other rights are given in namespaces: those go with the
       namespace, perhaps before the classes, and nobody could take their finalizers off. */}}
{{- define "portside.finalizers.rules" -}}
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses]
  verbs: [get, list, watch, patch]
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses/status]
  verbs: [patch]
- apiGroups: [""]
  # Whether it is being deleted.
  resources: [namespaces]
  resourceNames: {{ .Values.watchNamespaces | toJson }}
  verbs: [get]
{{- end }}

{{- /* What the gateway may do there: it finds classes and the pods that run them. */}}
{{- define "portside.gateway.rules" -}}
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end }}

{{- /* What the API server of workers may do there: it finds classes and the pods that it asks. */}}
{{- define "portside.apiserver.rules" -}}
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- end }}

{{- /* What whoever may view workers may do. */}}
{{- define "portside.workers.view" -}}
- apiGroups: [runtime.portside.dev]
  resources: [serverlessworkers]
  verbs: [get, list, watch]
- apiGroups: [runtime.portside.dev]
  resources: [serverlessworkers/log]
  verbs: [get]
{{- end }}

{{- /* What the clean-up after the operator may do. */}}
{{- define "portside.cleanup.rules" -}}
- apiGroups: [portside.dev]
  resources: [serverlessworkerclasses]
  verbs: [get, list, patch]
{{- end }}

{{- /* A role and its binding, either for the whole cluster or in each watched namespace.
       Call with (dict "root" $ "component" … "account" … "rules" …), and "annotations" if there are any. */}}
{{- define "portside.role" -}}
{{- $root := .root }}
{{- $name := printf "%s-%s" (include "portside.fullname" $root) .component }}
{{- $labels := include "portside.labels" . }}
{{- $account := .account }}
{{- $rules := .rules }}
{{- $annotations := .annotations }}
{{- range $root.Values.watchNamespaces | default (list "") }}
{{- $kind := ternary "Role" "ClusterRole" (ne . "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ $name }}
  {{- with . }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
rules: {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ $name }}
  {{- with . }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $account }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}
