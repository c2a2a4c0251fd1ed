{{/* The objects of a file of k8s/, as {"objects": [...]}: (list $ "base/deployment.yaml"). */}}
{{- define "llm-router.read" -}}
{{- $objects := list -}}
{{- range regexSplit "(?m)^---$" ((index . 0).Files.Get (printf "files/%s" (index . 1))) -1 -}}
{{- $objects = append $objects (fromYaml .) -}}
{{- end -}}
{{- dict "objects" $objects | toYaml -}}
{{- end -}}

{{/* Environment variables, as {"env": [...]}. Of several with one name, the last one applies: (list $env $more). */}}
{{- define "llm-router.env" -}}
{{- $env := list -}}
{{- range concat (index . 0) (index . 1) -}}
{{- $new := . -}}
{{- $others := list -}}
{{- range $env -}}{{- if ne .name $new.name -}}{{- $others = append $others . -}}{{- end -}}{{- end -}}
{{- $env = append $others $new -}}
{{- end -}}
{{- dict "env" $env | toYaml -}}
{{- end -}}

{{/* An object in this release's namespace, as kustomize would have it: (list $ $object). */}}
{{- define "llm-router.object" -}}
{{- $object := index . 1 -}}
{{- $_ := set $object.metadata "namespace" (index . 0).Release.Namespace -}}
{{- $labels := merge (dict "app.kubernetes.io/part-of" "llm-router") ($object.metadata.labels | default dict) -}}
{{- $_ = set $object.metadata "labels" $labels }}
---
{{ toYaml $object }}
{{- end -}}

{{/* The policy, with the sidecar's cluster under the name that the mesh has for it: (list $ "CLUSTER"). */}}
{{- define "llm-router.policy" -}}
{{- $policy := deepCopy (index . 0).Values.policy -}}
{{- $_ := set $policy "sidecar" (merge (dict "cluster" (index . 1)) ($policy.sidecar | default dict)) -}}
{{- if eq ($policy.mode | default "enforce") "enforce" -}}{{- $_ = unset $policy "mode" -}}{{- end -}}
{{- toYaml $policy -}}
{{- end -}}

{{/* A little above the policy's max_body, in whole MiB. */}}
{{- define "llm-router.buffer" -}}
{{- $limit := ((.Values.policy.limits | default dict).max_body) | default "8MiB" -}}
{{- if not (regexMatch "^[0-9]+MiB$" (toString $limit)) -}}{{- fail "policy.limits.max_body: write it in whole MiB, such as 8MiB" -}}{{- end -}}
{{- add1 (trimSuffix "MiB" $limit) -}}
{{- end -}}

{{/* The rules of the HTTPRoute, as {"rules": [...]}. */}}
{{- define "llm-router.rules" -}}
{{- $llms := .Values.llms -}}
{{- $rules := list -}}
{{- range $name, $model := .Values.policy.models -}}
{{- if not (hasKey $llms $model.cluster) -}}{{- fail (printf "policy.models.%s.cluster: llms has no %q" $name $model.cluster) -}}{{- end -}}
{{- end -}}
{{- if not (hasKey $llms .Values.defaultLlm) -}}{{- fail (printf "defaultLlm: llms has no %q" .Values.defaultLlm) -}}{{- end -}}
{{- range $name, $llm := $llms -}}
{{- $rule := fromYaml (include "llm-router.target" (list $ $name $llm)) -}}
{{- $_ := set $rule "matches" (list (dict "headers" (list (dict "name" "x-llm-cluster" "value" $name)))) -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- $rules = append $rules (fromYaml (include "llm-router.target" (list $ .Values.defaultLlm (index $llms .Values.defaultLlm)))) -}}
{{- dict "rules" $rules | toYaml -}}
{{- end -}}

{{/* A rule to an LLM, without matches: (list $ "NAME" $llm). */}}
{{- define "llm-router.target" -}}
{{- $name := index . 1 -}}{{- $llm := index . 2 -}}
{{- $route := (index . 0).Files.Get (printf "files/%s/routes.yaml" (index . 0).Values.gateway) | fromYaml -}}
{{- $filters := list -}}
{{- /* What the overlay's route removes of the client's headers. */ -}}
{{- $remove := (first (first $route.spec.rules).filters).requestHeaderModifier.remove -}}
{{- range $llm.clientHeaders -}}
{{- if not (has . $remove) -}}{{- fail (printf "llms.%s.clientHeaders: %q reaches the LLM anyway; what can be listed: %s" $name . (join ", " $remove)) -}}{{- end -}}
{{- $remove = without $remove . -}}
{{- end -}}
{{- with $remove -}}
{{- $filters = append $filters (dict "type" "RequestHeaderModifier" "requestHeaderModifier" (dict "remove" .)) -}}
{{- end -}}
{{- if $llm.host -}}
{{- $filters = append $filters (dict "type" "URLRewrite" "urlRewrite" (dict "hostname" $llm.host)) -}}
{{- end -}}
timeouts: { request: 0s }
{{- with $filters }}
filters: {{- toYaml . | nindent 0 }}
{{- end }}
{{- if $llm.service }}
backendRefs: [{ name: {{ $llm.service }}, port: {{ $llm.port }} }]
{{- else }}
{{- if eq (index . 0).Values.gateway "istio" }}
backendRefs: [{ group: networking.istio.io, kind: Hostname, name: {{ $llm.host }}, port: 443 }]
{{- else }}
backendRefs:
- group: gateway.envoyproxy.io
  kind: Backend
  name: {{ $name }}
  {{- if $llm.key }}
  filters: [{ type: ExtensionRef, extensionRef: { group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: {{ $name }}-key } }]
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}
