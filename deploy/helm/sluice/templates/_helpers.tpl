{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Truncated so that the suffixes of other objects fit into the 63 characters of a name. */}}
{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "sluice.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sluice.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sluice.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- /* The store's ports, separated by commas: networkPolicy.storePorts, or the ports of the URL,
       where a host without a port has 6379. */}}
{{- define "sluice.storePorts" -}}
{{- if .Values.networkPolicy.storePorts }}
{{- join "," .Values.networkPolicy.storePorts }}
{{- else if .Values.store.url }}
{{- $ports := list }}
{{- $authority := .Values.store.url | trimPrefix (regexFind "^[a-z+]+://" .Values.store.url) | regexFind "^[^/?#]*" }}
{{- range $host := splitList "," (regexReplaceAll "^.*@" $authority "") }}
{{- $ports = append $ports (regexFind ":[0-9]+$" $host | trimPrefix ":" | default "6379") }}
{{- end }}
{{- $ports | uniq | join "," }}
{{- else }}
{{- "6379" }}
{{- end }}
{{- end }}

{{- /* Conditions that a JSON schema cannot express, each with its remedy. */}}
{{- define "sluice.check" -}}
{{- if not (or .Values.store.url .Values.store.urlSecret.name) }}
{{- fail "store.url: no store is set. Set store.url to redis://HOST:6379, or store.urlSecret.name to a Secret with the URL." }}
{{- end }}
{{- if and .Values.store.url .Values.store.urlSecret.name }}
{{- fail "store.url and store.urlSecret.name are both set: keep one of them." }}
{{- end }}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}
{{- if and (hasPrefix "memory:" .Values.store.url) $many }}
{{- fail "store.url: with memory:// each replica would grant every client the whole limit. Use redis://, or set replicaCount to 1 and autoscaling.enabled to false." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." }}
{{- end }}
{{- end }}
