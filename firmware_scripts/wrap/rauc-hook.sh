#!/bin/sh
# Hook of a RAUC bundle: installs the .edgepkg that comes as the image of the slot class "edgeopt".
# RAUC calls it as: slot-install SLOT, with the path of the image in RAUC_IMAGE_NAME.
# Source: https://rauc.readthedocs.io, "Slot Hooks".
set -eu

root=${EDGEOPT_ROOT:-/var/lib/edgeopt}
python=${EDGEOPT_PYTHON:-python3}

case "$1" in
slot-install)
    # The device's own part: verify, self-test, switch, health; if it fails, what served before serves on.
    "$python" "$(dirname "$0")/edgeopt_field.py" --root "$root" install "$RAUC_IMAGE_NAME" >&2
    ;;
*)
    echo "this hook installs slots, and does not know $1" >&2
    exit 1
    ;;
esac
