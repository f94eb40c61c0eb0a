"""From the lab to devices that nobody can touch: signed packages, and the trust that they are checked by.

Pure parts (`ustar`, `metadata`, `manifest`, `tolerance`) know no files; `archive`, `keyring` and `pack` do.
What runs on a device is `firmware_scripts/edgeopt_field.py`. docs/adr/0020 has the format and its reasons.
"""
