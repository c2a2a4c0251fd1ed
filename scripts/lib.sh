# shellcheck shell=bash
# Shared by the scripts beside it: paths, progress lines, locks, and what is built together.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SETUP=$REPO/.setup
VENV=$SETUP/venv
LINT=$SETUP/lint
MODEL=$REPO/models/e5
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

# The target of Rust that this machine is.
host_target() { rustc -vV | sed -n 's/^host: //p'; }

has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$1" ]; }

add_target() {
  command -v rustup >/dev/null || return 1
  step "asking rustup for $1"
  # Without a network, rustup retries for minutes.
  timeout 60 rustup target add "$1" >/dev/null 2>&1 && has_target "$1"
}

# Has rustc leave the folders of this machine out of what it compiles: panic messages name source files. With further flags of rustc.
without_own_folders() {
  local flags=("$@" "--remap-path-prefix=$REPO=llm-router" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo")
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
  export CARGO_ENCODED_RUSTFLAGS
}

# Fails if a file names a folder of this machine.
check_no_own_folders() {
  if grep -aqP "(?<![\w./-])(\Q$REPO\E|\Q${CARGO_HOME:-$HOME/.cargo}\E)/" "$1"; then die "$1 names folders of this machine"; fi
}

# Runs cargo for a target, and sets TARGET_DIR to the folder that it builds in. Where rustup cannot download the target's standard
# library, Debian's rustc-web builds it from its source package.
#
# usage: cargo_for TARGET STD COMMAND ARGUMENT...
#
#   STD       the crates of the standard library, for -Zbuild-std
#   COMMAND   of cargo, with its arguments
cargo_for() {
  local target=$1 std=$2 command=$3
  shift 3
  if has_target "$target" || { [ ! -d "$REPO/target/debian" ] && add_target "$target"; }; then
    TARGET_DIR=$REPO/target
    cargo "$command" --target "$target" "$@"
    return
  fi
  if ! { [ -x /usr/bin/cargo ] && compgen -G "/usr/src/rustc-*/library" >/dev/null; }; then
    step "installing Debian's Rust for $target"
    apt_install rustc-web cargo-web rust-web-src
  fi
  TARGET_DIR=$REPO/target/debian
  # -Zbuild-std is for nightly toolchains; RUSTC_BOOTSTRAP lets Debian's stable one do the same.
  RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
    /usr/bin/cargo "$command" --target "$target" --target-dir "$TARGET_DIR" "-Zbuild-std=$std" "$@"
}
