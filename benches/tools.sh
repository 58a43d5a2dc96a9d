# What scripts/bench needs beyond scripts/lib.sh, each only for the table that wants it. Source it after lib.sh.
# shellcheck shell=bash

nginx_works() { "$1" -v >/dev/null 2>&1; }

# Prints the path of an nginx: the machine's own, else Debian's, unpacked into .cache. Nothing, if there is none to be had.
ensure_nginx() {
  local own dir="$CACHE/nginx"
  if own="$(command -v nginx)" && nginx_works "$own"; then
    printf '%s\n' "$own"
    return
  fi
  if ! nginx_works "$dir/root/usr/sbin/nginx"; then
    if have apt-get; then
      say "fetching nginx …"
      rm -rf "$dir"
      mkdir -p "$dir/root"
      (apt_update && unpack_debs "$dir/root" nginx) || true
    fi
  fi
  if nginx_works "$dir/root/usr/sbin/nginx"; then
    printf '%s\n' "$dir/root/usr/sbin/nginx"
  else
    say "no nginx to be had here: its rows stay empty"
  fi
}

# Whether there is a valgrind, installed if it lacks and can be.
ensure_valgrind() {
  valgrind --version >/dev/null 2>&1 && return
  say "installing valgrind …"
  (packages valgrind valgrind valgrind) || true
  valgrind --version >/dev/null 2>&1 || {
    say "no valgrind to be had here: instructions are not counted"
    return 1
  }
}

# Prints the directory of an environment for what is compared; it shares nothing with the tests'.
ensure_compared() {
  local dir="$CACHE/venv-bench" stamp
  stamp="$(sha256sum <"$ROOT/benches/requirements.txt" | cut -c1-16)"
  if [ ! -e "$dir/.stamp-$stamp" ]; then
    say "preparing what Podium is compared with …"
    rm -rf "$dir"
    "$(ensure_python)/bin/python" -m venv "$dir"
    quietly "pip install" "$dir/bin/python" -m pip install -q --disable-pip-version-check -r "$ROOT/benches/requirements.txt"
    touch "$dir/.stamp-$stamp"
  fi
  printf '%s\n' "$dir"
}
