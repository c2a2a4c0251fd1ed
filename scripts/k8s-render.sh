# shellcheck shell=bash
# Renders all of k8s/ as kubectl and Helm would apply it. The scripts that check the result source it after lib.sh, run scripts/setup-k8s, and
# work in the repository's folder.
source "$REPO/scripts/k8s-versions.sh"
PATH=$SETUP/k8s/bin:$PATH

# scripts/setup-k8s installs one of these two programs.
build_kustomization() {
  if command -v kustomize >/dev/null; then kustomize build "$1"; else kubectl kustomize "$1"; fi
}

render_chart() { helm template llm-router k8s/chart --namespace llm-router --kube-version "$KUBERNETES_OLDEST" "$@"; }

# Runs a Helm command. Helm logs every symbolic link that it follows, so this prints the log only if the command fails.
quietly() { "$@" 2>target/helm.log || { cat target/helm.log >&2; die "failed: $*"; }; }

# Renders the base with these components.
#
# usage: with_components FOLDER NAME COMPONENT...
with_components() {
  local folder=$1/$2 result=$1/$2.yaml
  shift 2
  mkdir -p "$folder"
  { echo "resources: [../../../k8s/base]"; echo "components:"; printf -- '- ../../../k8s/components/%s\n' "$@"; } \
    >"$folder/kustomization.yaml"
  build_kustomization "$folder" >"$result"
}

# Writes a file for each overlay, component and chart example.
#
# usage: render_all FOLDER   a folder in target/, which is emptied first
render_all() {
  local folder=$1 overlay component values gateway
  rm -rf "$folder"
  mkdir -p "$folder"
  step "overlays and components"
  for overlay in k8s/base k8s/overlays/*; do
    build_kustomization "$overlay" >"$folder/$(basename "$overlay").yaml"
  done
  for component in gpu podmonitor keda native; do
    with_components "$folder" "with-$component" "$component"
  done
  with_components "$folder" with-gpu-podmonitor-keda gpu podmonitor keda

  step "chart"
  quietly helm lint --quiet --strict k8s/chart
  quietly render_chart >"$folder/chart-none.yaml"
  for values in k8s/chart/examples/*.yaml; do
    quietly render_chart --values "$values" >"$folder/chart-$(basename "$values")"
  done
  for gateway in istio envoy-gateway; do
    quietly render_chart --set "gateway=$gateway" --set podMonitor.enabled=true >"$folder/chart-$gateway-podmonitor.yaml"
  done
}
