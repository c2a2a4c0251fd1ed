# shellcheck shell=bash
# Shared by the scripts beside it: paths, progress lines, locks, and what is built together.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SETUP=$REPO/.setup
VENV=$SETUP/venv
LINT=$SETUP/lint
MODEL=$REPO/models/minilm
FILTER_WASM=$REPO/target/llm_router_filter.wasm
FILTER_MODULE=$REPO/target/libllm_router.so
SIDECAR_BIN=$REPO/target/release/llm-router-sidecar
TRAIN_BIN=$REPO/target/release/llm-router-train
POLICY_BIN=$REPO/target/debug/llm-router

# torch-sys rebuilds its C++, which takes minutes, whenever this differs between two cargo calls.
export LIBTORCH=${LIBTORCH:-$SETUP/libtorch}

# The packages that link libtorch, and the test programs beside them. They are always built as this one set: cargo compiles a dependency
# again for a set of packages that needs other features of it. The default members are the other set, and need no libtorch.
TORCH_SET=(--release --locked --workspace
  --exclude llm-router-routing --exclude llm-router-proto --exclude llm-router-filter-common --exclude llm-router-filter --exclude llm-router-module --exclude llm-router-cli)

# For scripts that use only some of these.
: "$VENV" "$LINT" "$MODEL" "$FILTER_WASM" "$FILTER_MODULE" "$SIDECAR_BIN" "$TRAIN_BIN" "$POLICY_BIN" "${TORCH_SET[@]}"

# Builds the default members and their tests, with them POLICY_BIN. `cargo build` alone would choose other features for dependencies.
build_core() { (cd "$REPO" && cargo test --locked --no-run --quiet); }

step() { printf '\033[1m==> [%3ds] %s\033[0m\n' "$SECONDS" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
minutes() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }

# Prints the comment block at the head of the calling script as its help text.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# Waits until no other script holds the lock of this name. The calling subshell holds it until it ends.
lock() {
  mkdir -p "$SETUP/locks"
  exec {LOCK}>"$SETUP/locks/$1"
  flock "$LOCK"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root: $*"; fi
}

apt_install() {
  command -v apt-get >/dev/null || die "please install: $*"
  (
    lock apt
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  )
}
