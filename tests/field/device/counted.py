"""Runs a program and stops it at its n-th step that changes a file: `counted.py N DEED SCRIPT ARGUMENT…`.

A step is a file that is opened for writing, a write, an fsync, a rename, a link, a folder that is made, or
something that is removed. DEED `kill` sends SIGKILL (a write is done by half), `stop` says AT and waits for
whoever cuts the power, and `count` writes how many steps there were to the file N.
"""

import os
import runpy
import signal
import sys
import time

EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
at, deed, script, *arguments = sys.argv[1:]
root = arguments[arguments.index("--root") + 1]
write, fsync = os.write, os.fsync
log = os.open(at, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if deed == "count" else None
left = 0 if deed == "count" else int(at)


def step(torn=lambda: None):
    global left
    left -= 1
    if log is not None:
        write(log, b".")
    elif left == 0:
        torn()
        if deed == "stop":
            write(1, b"AT\n")
            time.sleep(3600)
        os.kill(os.getpid(), signal.SIGKILL)


def is_ours(path):
    path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    return path.startswith(root) or (path != "" and not path.startswith("/"))


def watch(event, details):
    if event == "open":
        if isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR) and is_ours(details[0]):
            step()
    elif event in EVENTS and any(is_ours(one) for one in details[:2]):
        step()


def counted_write(descriptor, data):
    if descriptor > 2:
        step(lambda: write(descriptor, bytes(data)[: len(data) // 2]))
    return write(descriptor, data)


def counted_fsync(descriptor):
    step()
    return fsync(descriptor)


os.write, os.fsync = counted_write, counted_fsync
sys.addaudithook(watch)
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
