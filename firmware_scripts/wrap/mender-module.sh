#!/bin/sh
# Mender update module "edgeopt": installs the .edgepkg of an artifact, and takes it back.
# On the device: /usr/share/mender/modules/v3/edgeopt, executable. Mender calls it as: STATE FOLDER.
# Source: https://docs.mender.io, update modules, protocol version 3.
set -eu

state=$1
folder=${2:-.}
root=${EDGEOPT_ROOT:-/var/lib/edgeopt}
python=${EDGEOPT_PYTHON:-python3}
said="$folder/tmp/edgeopt"

agent() {
    "$python" "$folder/files/edgeopt_field.py" --root "$root" "$@"
}

case "$state" in
SupportsRollback)
    echo Yes
    ;;
NeedsArtifactReboot)
    echo No
    ;;
ArtifactInstall)
    # The device's own part: verify, self-test, switch, health; if it fails, what served before serves on.
    for package in "$folder"/files/*.edgepkg; do
        agent install "$package" > "$said" || {
            code=$?
            cat "$said" >&2
            rm -f "$said"  # it has gone back by itself: nothing is left to take back
            exit "$code"
        }
    done
    ;;
ArtifactRollback)
    counter=$(sed -n 's/.*"counter": *\([0-9][0-9]*\).*/\1/p' "$said" 2> /dev/null || true)
    # Only if it still serves: the device may have gone back by itself already.
    [ -z "$counter" ] || agent rollback --from "$counter" >&2
    ;;
esac
