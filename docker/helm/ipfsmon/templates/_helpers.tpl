{{- define "ipfsmon.name" -}}
{{- if contains "ipfsmon" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-ipfsmon" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ipfsmon.selector" -}}
app.kubernetes.io/name: ipfsmon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ipfsmon.labels" -}}
{{ include "ipfsmon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "ipfsmon.protected" -}}
{{- if and .Values.http.tlsSecret .Values.http.tokenSecret }}true{{ end }}
{{- end }}
