# shellcheck shell=sh
# title: runtime environment
# runs as: user
# without it: nothing can be measured, unless ?python= names a Python that has the runtime
# A virtual environment of its own: the system's Python stays as it is (PEP 668).

RUNTIME_FOLDER=$HOME/.local/share/edgeopt/runtime
RUNTIME_PYTHON=$RUNTIME_FOLDER/bin/python
RUNTIME_WHEELS=$HOME/.cache/edgeopt/wheels
RUNTIME_STAMP=$RUNTIME_FOLDER/edgeopt-requirements
export ORT_DISABLE_TELEMETRY=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

runtime_works() {
  [ "$(cat "$RUNTIME_STAMP" 2> /dev/null)" = "$REQUIREMENTS" ] && "$RUNTIME_PYTHON" -c "import $MODULES" 2> /dev/null
}

runtime_check() {
  have python3 || fail "there is no python3: sudo apt-get install python3 python3-venv"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    fail "$(python3 --version) is too old: the runner needs 3.9, so take a newer system"
  python3 -c 'import sys; sys.exit(sys.maxsize < 2**32)' ||
    fail "this Python has 32 bits, for which there is no onnxruntime: install a 64-bit system"
  runtime_works || change "$RUNTIME_FOLDER with $REQUIREMENTS"
  printf 'python\t%s\n' "$RUNTIME_PYTHON"
}

runtime_do() {
  [ ! -e "$RUNTIME_FOLDER" ] || is_kept folder || fail "$RUNTIME_FOLDER is in the way: remove it"
  keep folder "$RUNTIME_FOLDER"
  rm -rf "$RUNTIME_FOLDER" # of a run that was interrupted
  mkdir -p "${RUNTIME_FOLDER%/*}"
  runtime_install || {
    rm -rf "$RUNTIME_FOLDER" # a full disk needs the room
    exit 1
  }
  echo "$REQUIREMENTS" > "$RUNTIME_STAMP"
  sync "$RUNTIME_STAMP"
}

# Debian's python3 has no ensurepip without python3-venv; a wheel of pip can install from itself.
runtime_install() {
  pip="-m pip"
  if python3 -c 'import ensurepip' 2> /dev/null; then
    python3 -m venv "$RUNTIME_FOLDER" || return
  else
    pip=
    for wheel in "$RUNTIME_WHEELS"/pip-*.whl; do [ ! -e "$wheel" ] || pip=$wheel/pip; done
    [ -n "$pip" ] ||
      fail "this Python cannot make an environment with pip: sudo apt-get install python3-venv, or leave out --from-index"
    python3 -m venv --without-pip "$RUNTIME_FOLDER" || return
  fi
  source=
  [ "$FROM_INDEX" = yes ] || source="--no-index --find-links $RUNTIME_WHEELS"
  # What is compiled is what the check imports, instead of 40 MB of tests and tools.
  # shellcheck disable=SC2086 # several options, several requirements
  "$RUNTIME_PYTHON" $pip install --quiet --no-compile --no-cache-dir $source $REQUIREMENTS
}

runtime_undo() {
  rm -rf "$(kept folder)"
  rmdir "$HOME/.local/share/edgeopt" 2> /dev/null || :
  change "$(kept folder) gone"
}
