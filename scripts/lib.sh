# Shared by the scripts beside it: paths, progress lines, and the environment that cargo needs.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SETUP=$REPO/.setup
VENV=$SETUP/venv
MODEL=$REPO/models/minilm
FILTER_WASM=$REPO/target/llm_router_filter.wasm
SIDECAR_BIN=$REPO/target/release/llm-router-sidecar
TRAIN_BIN=$REPO/target/release/llm-router-train
POLICY_BIN=$REPO/target/release/llm-router

# torch-sys reruns its four-minute C++ build whenever this differs between two cargo calls.
export LIBTORCH=${LIBTORCH:-$SETUP/libtorch}

step() { printf '\033[1m==> [%3ds] %s\033[0m\n' "$SECONDS" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
wall_time() { printf '%d min %02d s' $((SECONDS / 60)) $((SECONDS % 60)); }

# Prints the comment block at the head of the calling script as its help text.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root: $*"; fi
}

apt_install() {
  command -v apt-get >/dev/null || die "please install: $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}
