{{- /* What the policies about hosts share. They have variables `hosts` and `annotations` of what an object is to have, and `hostsBefore` and
       `annotationsBefore` of what it had. */}}
{{- define "portside.hostPolicy.given" }}
    - name: given
      expression: >-
        (has(namespaceObject.metadata.annotations) && '{{ .Values.hostPolicy.annotation }}' in namespaceObject.metadata.annotations
        ? namespaceObject.metadata.annotations['{{ .Values.hostPolicy.annotation }}'] : '')
        .split(',').map(host, host.trim().lowerAscii()).filter(host, host != '')
{{- end }}

{{- define "portside.hostPolicy.refused" }}
    # As in routes and certificates a wildcard stands for one label.
    - name: refusedHosts
      expression: >-
        variables.hosts.filter(host, !(host in variables.hostsBefore) && !variables.given.exists(one,
        one == '*' || one == host || (one.startsWith('*.') && !host.startsWith('*.') && host.endsWith(one.substring(1))
        && !host.substring(0, size(host) - size(one) + 1).contains('.'))))
{{- end }}

{{- /* Takes the names that are allowed. */}}
{{- define "portside.hostPolicy.refusedAnnotations" }}
    # Many make an Ingress controller serve other hosts, or have cert-manager ask for other names.
    - name: refusedAnnotations
      expression: >-
        '*' in variables.given ? [] : variables.annotations.filter(name,
        !(name in variables.annotationsBefore && variables.annotationsBefore[name] == variables.annotations[name])
        && !{{ . | toJson }}.exists(allowed, name == allowed ||
        ((allowed.endsWith('*') || allowed.endsWith('/')) && name.startsWith(allowed.replace('*', '')))))
{{- end }}

{{- define "portside.hostPolicy.validations" }}
{{- $hosts := index . "hosts" }}
{{- $annotations := index . "annotations" }}
  validations:
    - expression: variables.refusedHosts.size() == 0
      reason: Forbidden
      messageExpression: >-
        '{{ $hosts }} has ' + variables.refusedHosts.map(host, host == '' ? 'the empty host, which is every host' : host).join(', ')
        + ', but namespace ' + namespaceObject.metadata.name + ' has ' + (variables.given.size() == 0
        ? 'no hosts' : variables.given.join(', ')) + ': choose another host, or ask who runs the cluster to add it to the'
        + ' annotation {{ .root.Values.hostPolicy.annotation }} of the namespace'
    - expression: variables.refusedAnnotations.size() == 0
      reason: Forbidden
      messageExpression: >-
        '{{ $annotations }} has ' + variables.refusedAnnotations.join(', ') + ', which may lead to hosts that are not'
        + ' the namespace\'s: remove it, or ask who runs the cluster to allow it in hostPolicy.ingressAnnotations of the'
        + ' chart portside'
{{- end }}

{{- define "portside.hostPolicy.binding" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- include "portside.labels" (dict "root" .root "component" "policy") | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  {{- with .root.Values.watchNamespaces }}
  matchResources:
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: In
          values: {{- toYaml . | nindent 12 }}
  {{- end }}
{{- end }}
