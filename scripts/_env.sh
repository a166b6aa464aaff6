# Sourced by the other scripts. `fcflow_env .[extras] [--group NAME]...` makes the environment, installs what is named
# when pyproject.toml or the interpreter changed since the last time, and puts the environment first on PATH.
#
# FCFLOW_VENV    folder of the environment; .venv in the checkout where it is not set
# FCFLOW_PYTHON  the interpreter to make it from; the first python3 of at least 3.11 where it is not set

FCFLOW_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
FCFLOW_VENV=${FCFLOW_VENV:-$FCFLOW_ROOT/.venv}
case $FCFLOW_VENV in /*) ;; *) FCFLOW_VENV=$PWD/$FCFLOW_VENV ;; esac

_say() { printf 'fcflow: %s\n' "$*" >&2; }
_die() { _say "$*"; exit 1; }

_is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

_find_python() {
  local name
  for name in "${FCFLOW_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$name" ] && _is_recent "$name"; then command -v "$name"; return; fi
  done
  return 1
}

_on_debian_as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Says nothing unless it fails.
_apt_get() {
  local said
  said=$(DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" 2>&1) && return
  printf '%s\n' "$said" >&2
  return 1
}

_apt_install() {
  _say "installing $* (apt-get)"
  _apt_get update && _apt_get install -y --no-install-recommends "$@"
}

# Debian splits venv's ensurepip off into a package that is named after the interpreter.
_venv_package() { "$1" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")'; }

_need_python() {
  FCFLOW_BASE=$(_find_python) && return
  _on_debian_as_root || _die "expected Python 3.11 or later on PATH; on Debian run: sudo apt-get install python3 python3-venv"
  _apt_install python3 python3-venv || _die "apt-get could not install python3"
  FCFLOW_BASE=$(_find_python) || _die "expected Python 3.11 or later, found $(python3 --version 2>&1)"
}

_need_venv_module() {
  "$FCFLOW_BASE" -c 'import ensurepip, venv' >/dev/null 2>&1 && return
  local package
  package=$(_venv_package "$FCFLOW_BASE")
  _on_debian_as_root || _die "$FCFLOW_BASE cannot make environments; run: sudo apt-get install $package"
  _apt_install "$package" || _die "apt-get could not install $package"
}

_is_healthy() { "$FCFLOW_VENV/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

_need_environment() {
  _is_healthy && return
  if [ -e "$FCFLOW_VENV" ] && [ ! -f "$FCFLOW_VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$FCFLOW_VENV")" ]; then
    _die "$FCFLOW_VENV is not an environment, so it is left alone; set FCFLOW_VENV to another folder"
  fi
  _need_python
  _need_venv_module
  _say "making the environment in $FCFLOW_VENV"
  "$FCFLOW_BASE" -m venv --clear "$FCFLOW_VENV" || _die "$FCFLOW_BASE -m venv failed"
}

_pip() { "$FCFLOW_VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# Dependency groups came with pip 25.1.
_need_pip() {
  "$FCFLOW_VENV/bin/python" -c 'import pip, sys; v = pip.__version__.split("."); sys.exit((int(v[0]), int(v[1])) < (25, 1))' \
    || _pip --quiet install --upgrade 'pip>=25.1' || _die "pip could not upgrade itself to 25.1 or later"
}

_stamp() {
  { printf '%s\n' "$FCFLOW_ROOT" "$@"; "$FCFLOW_VENV/bin/python" --version; cat "$FCFLOW_ROOT/pyproject.toml"; } | cksum | tr ' ' '-'
}

_install() {
  local stamp
  stamp=$FCFLOW_VENV/.fcflow-$(_stamp "$@")
  [ -e "$stamp" ] && return
  _need_pip
  _say "installing $*"
  (cd "$FCFLOW_ROOT" && _pip install --editable "$@") || _die "pip could not install $*"
  touch "$stamp"
}

fcflow_env() {
  mkdir -p "$(dirname "$FCFLOW_VENV")"
  exec 9<"$FCFLOW_ROOT/pyproject.toml"
  if command -v flock >/dev/null; then flock 9; fi
  _need_environment
  _install "$@"
  exec 9<&-
  PATH=$FCFLOW_VENV/bin:$PATH
  export PATH
}
