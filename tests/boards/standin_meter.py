"""A stand-in for a power meter: it follows what the runner's processes really do, and draws no power from it.

    python standin_meter.py FILE PID LAG_S [IDLE_W [STEP_W]]

It looks every 20 ms whether a thread of the process PID or of one below it is running, makes idle or idle +
step watts of that, and appends `t_s,power_w` to FILE as a USB meter's program would, LAG_S later. It ends
with PID.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path


def running(pid: int) -> bool:
    """Whether anything below a process, but not this, is on a core or waits for one."""
    below, todo, this = [], [pid], os.getpid()
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(words[1]), []).append(int(stat.parent.name))
    while todo:
        one = todo.pop()
        if one != this:
            below.append(one)
        todo += children.get(one, [])
    for one in below:
        try:
            if b"--sample" in Path(f"/proc/{one}/cmdline").read_bytes():
                continue
            threads = list(Path(f"/proc/{one}/task").glob("*/stat"))
            if any(t.read_text().rpartition(")")[2].split()[0] == "R" for t in threads):
                return True
        except OSError:
            continue
    return False


def main(file: str, pid: int, lag_s: float, idle_w: float = 2.0, step_w: float = 3.0) -> None:
    late: deque[tuple[float, float]] = deque()
    with Path(file).open("a") as stream:
        while Path(f"/proc/{pid}").exists():
            now = time.time()
            late.append((now, idle_w + step_w * running(pid)))
            # What a meter shows late, it shows with the time at which it shows it.
            while late and late[0][0] <= now - lag_s:
                _, watts = late.popleft()
                stream.write(f"{now:.4f},{watts:.4f}\n")
                stream.flush()
            time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *(float(word) for word in sys.argv[3:]))
