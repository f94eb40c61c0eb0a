"""Prepare a fresh board over SSH, so that it can be measured on, and restore it.

What runs on the board is POSIX shell, one file per step (`firmware_scripts/provision/steps`), composed here
into one script that is sent through stdin and never stored there.
"""
