# shellcheck shell=bash
# Builds the Go programs of tests/control-planes/. Sourced, after lib.sh, by scripts that install them.

# Builds a program into .setup/k8s/bin, unless it was built from the same sources. The caller holds the lock control-planes.
#
# usage: build_go MODULE PACKAGE BINARY [LINKER_FLAG...]
build_go() {
  local module=$REPO/tests/control-planes/$1 package=$2 binary=$SETUP/k8s/bin/$3 stamp=$SETUP/k8s/.built_$3 flags="-s -w ${*:4}" sources
  command -v go >/dev/null || die "no go: install Go 1.26 or later from https://go.dev/dl, then run this again"
  sources="$(cd "$module" && cat go.mod go.sum "$package"/*.go | sha256sum) $flags"
  [ -x "$binary" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ] && return
  step "$3, by Go"
  mkdir -p "$SETUP/k8s/bin"
  (cd "$module" && CGO_ENABLED=0 go build -ldflags="$flags" -o "$binary" "$package")
  printf '%s\n' "$sources" >"$stamp"
}

# Fails unless a module of tests/control-planes/ requires this version of another module.
#
# usage: check_go_version MODULE OTHER VERSION
check_go_version() {
  local version
  version=$(cd "$REPO/tests/control-planes/$1" && go list -m -f '{{.Version}}' "$2")
  [ "$version" = "$3" ] || die "tests/control-planes/$1/go.mod has $2 $version, scripts/k8s-versions.sh $3"
}

# Prints the folder of another module's sources, as a module of tests/control-planes/ uses it.
#
# usage: go_sources MODULE OTHER
go_sources() { (cd "$REPO/tests/control-planes/$1" && go mod download "$2" && go list -m -f '{{.Dir}}' "$2"); }

# Builds the program that prints the bootstrap of Istio's agent, and installs Istio's template beside it. The caller holds the lock
# control-planes.
setup_istio_bootstrap() {
  local sources
  build_go istio ./bootstrap istio-bootstrap
  sources=$(go_sources istio istio.io/istio)
  install -m 644 "$sources/tools/packaging/common/envoy_bootstrap.json" "$SETUP/k8s/istio-bootstrap.tmpl"
}
