{{- /* Labels of every object, and of every pod of Tarn. */ -}}
{{- define "tarn.labels" -}}
app.kubernetes.io/part-of: tarn
{{- end -}}

{{- /* The ConfigMap's name has a hash of its content, made as kustomize makes it (which
leaves the name out): then both name the same content alike. */ -}}
{{- define "tarn.settings" -}}
{{- $content := dict "kind" "ConfigMap" "name" "" "data" (dict "tarn.yaml" .Values.settings) -}}
{{- $hash := $content | toJson | sha256sum | trunc 10 -}}
tarn-{{ $hash | replace "0" "g" | replace "1" "h" | replace "3" "k" | replace "a" "m" | replace "e" "t" }}
{{- end -}}
