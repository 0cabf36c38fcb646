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

{{- /* A table without the keys that are null. */}}
{{- define "sluice.withoutNulls" -}}
{{- $kept := dict }}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- $_ := set $kept $key $value }}
{{- end }}
{{- end }}
{{- if $kept }}
{{- toYaml $kept }}
{{- end }}
{{- end }}

{{- /* The ports of URLs, separated by commas, each once. A URL without a port has that of its
       scheme. Input: a list of URLs. */}}
{{- define "sluice.urlPorts" -}}
{{- $ports := list }}
{{- range $url := . }}
{{- $default := ternary "443" "80" (hasPrefix "https://" (lower $url)) }}
{{- $authority := regexReplaceAll "^[a-zA-Z][a-zA-Z0-9+.-]*://" $url "" | regexFind "^[^/?#]*" }}
{{- $ports = append $ports (regexFind ":[0-9]+$" $authority | trimPrefix ":" | default $default) }}
{{- end }}
{{- $ports | uniq | join "," }}
{{- end }}

{{- /* The ports of the gateway's upstreams; nothing without a gateway. */}}
{{- define "sluice.upstreamPorts" -}}
{{- with (.Values.config.gateway | default dict).upstream }}
{{- if $.Values.networkPolicy.upstreamPorts }}
{{- join "," $.Values.networkPolicy.upstreamPorts }}
{{- else }}
{{- include "sluice.urlPorts" (ternary (list .) . (kindIs "string" .)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The ports of the OTLP endpoints in `extraEnv`; a value from elsewhere, such as a Secret, is
       not known here, and means the two usual ports. */}}
{{- define "sluice.otlpPorts" -}}
{{- $ports := list }}
{{- range .Values.extraEnv }}
{{- if regexMatch "^OTEL_EXPORTER_OTLP(_TRACES|_METRICS|_LOGS)?_ENDPOINT$" .name }}
{{- if .value }}
{{- $ports = concat $ports (splitList "," (include "sluice.urlPorts" (list .value))) }}
{{- else }}
{{- $ports = concat $ports (list "4317" "4318") }}
{{- end }}
{{- end }}
{{- end }}
{{- join "," (default (uniq $ports) .Values.networkPolicy.otlpPorts) }}
{{- end }}

{{- /* `true` if the gRPC Service has no address of its own. */}}
{{- define "sluice.grpcIsHeadless" -}}
{{- $grpc := .Values.service.grpc }}
{{- if kindIs "invalid" $grpc.headless }}
{{- eq $grpc.type "ClusterIP" }}
{{- else }}
{{- $grpc.headless }}
{{- end }}
{{- end }}

{{- /* The IP families of a Service. */}}
{{- define "sluice.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The store's ports, separated by commas: networkPolicy.storePorts, or the ports of the URL. A
       host without a port has 6379. A Sentinel has 26379, and the servers behind it 6379. */}}
{{- define "sluice.storePorts" -}}
{{- if .Values.networkPolicy.storePorts }}
{{- join "," .Values.networkPolicy.storePorts }}
{{- else if .Values.store.url }}
{{- $scheme := regexFind "^[a-z+]+://" .Values.store.url }}
{{- $sentinel := hasSuffix "+sentinel://" $scheme }}
{{- $ports := ternary (list "6379") list $sentinel }}
{{- $authority := .Values.store.url | trimPrefix $scheme | regexFind "^[^/?#]*" }}
{{- range $host := splitList "," (regexReplaceAll "^.*@" $authority "") }}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" }}
{{- $ports = append $ports ($port | default (ternary "26379" "6379" $sentinel)) }}
{{- end }}
{{- $ports | uniq | join "," }}
{{- else }}
{{- "6379" }}
{{- end }}
{{- end }}

{{- /* Fails if there are no files. Input: the files, and the name of their directory. */}}
{{- define "sluice.requireFiles" -}}
{{- if not (index . 0) }}
{{- fail (printf "files/%s is missing from this copy of the chart. Take the chart with all its files, or disable the object that is made from them." (index . 1)) }}
{{- end }}
{{- end }}

{{- /* How many replicas there are at least; nothing if there may be none. */}}
{{- define "sluice.leastReplicas" -}}
{{- $least := .Values.replicaCount }}
{{- if .Values.autoscaling.enabled }}
{{- $least = .Values.autoscaling.minReplicas }}
{{- end }}
{{- if gt (int $least) 0 }}
{{- $least }}
{{- end }}
{{- end }}

{{- /* The address of the gRPC port, or `off`. */}}
{{- define "sluice.grpcAddress" -}}
{{- ternary (printf "%s:8081" .Values.listen.address) "off" .Values.service.grpc.enabled }}
{{- end }}

{{- /* Conditions that a JSON schema cannot express, each with its remedy. */}}
{{- define "sluice.check" -}}
{{- if not .Values.image.repository }}
{{- fail (printf "image.repository: is missing, because no image of Sluice is published. Build one, push it to a registry that your cluster can read, and set image.repository to its name:\n\n  docker build --file deploy/Dockerfile --tag REGISTRY/sluice:%[1]s .\n  docker push REGISTRY/sluice:%[1]s\n  helm install sluice deploy/helm/sluice --set image.repository=REGISTRY/sluice ...\n" .Chart.AppVersion) }}
{{- end }}
{{- if not (or .Values.store.url .Values.store.urlSecret.name) }}
{{- fail "store.url: no store is set. Set store.url to redis://HOST:6379, or store.urlSecret.name to a Secret with the URL." }}
{{- end }}
{{- if and .Values.store.url .Values.store.urlSecret.name }}
{{- fail "store.url and store.urlSecret.name are both set: keep one of them." }}
{{- end }}
{{- $sentinel := .Values.store.sentinel }}
{{- $secrets := or $sentinel.passwordSecret.name $sentinel.caSecret.name }}
{{- if and $secrets .Values.store.url (not (regexMatch "^rediss?[+]sentinel://" .Values.store.url)) }}
{{- fail "store.sentinel: store.url has no Sentinels. Write it as redis+sentinel://S1,S2,S3/SERVICE, or remove the Secrets of store.sentinel." }}
{{- end }}
{{- if and (or .Values.store.caSecret.name .Values.store.clientCertificateSecret $sentinel.caSecret.name) .Values.store.url (not (hasPrefix "rediss" .Values.store.url)) }}
{{- fail "store.url: only TLS has certificates. Write rediss instead of redis, or remove store.caSecret, store.clientCertificateSecret and store.sentinel.caSecret." }}
{{- end }}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}
{{- if and (hasPrefix "memory:" .Values.store.url) $many }}
{{- fail "store.url: with memory:// each replica would grant every client the whole limit. Use redis://, or set replicaCount to 1 and autoscaling.enabled to false." }}
{{- end }}
{{- $grpc := .Values.service.grpc }}
{{- if and $grpc.enabled $grpc.headless (ne $grpc.type "ClusterIP") }}
{{- fail (printf "service.grpc: a Service of type %s cannot be headless. Remove service.grpc.headless, or set service.grpc.type to ClusterIP." $grpc.type) }}
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- $hasMost := not (kindIs "invalid" .maxUnavailable) }}
{{- $hasLeast := not (kindIs "invalid" .minAvailable) }}
{{- if and .enabled (eq $hasMost $hasLeast) }}
{{- fail "podDisruptionBudget: set one of maxUnavailable and minAvailable, and the other to null." }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: is empty. Write `[{ host: limits.example.com, paths: [/] }]`, or set ingress.enabled to false." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (kindIs "invalid" .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.metrics) }}
{{- fail "autoscaling: has no metric. Set targetCPUUtilizationPercentage or metrics." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." }}
{{- end }}
{{- end }}
