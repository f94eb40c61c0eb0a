# shellcheck shell=sh
# title: performance counters
# runs as: root
# without it: cycles and cache misses of a model cannot be counted
# 2 is the strictest setting that lets users count what their own processes do; Debian's own is 3.
# Source: Linux, Documentation/admin-guide/sysctl/kernel.rst, perf_event_paranoid

PERF_WANTED=2
PERF_SETTING=/proc/sys/kernel/perf_event_paranoid
PERF_FILE=/etc/sysctl.d/90-edgeopt-perf.conf

perf_check() {
  [ -r "$PERF_SETTING" ] || not_here "this kernel has no performance counters ($PERF_SETTING is missing)"
  now=$(cat "$PERF_SETTING")
  [ "$now" -le "$PERF_WANTED" ] || {
    change "kernel.perf_event_paranoid: $now -> $PERF_WANTED, now and at every boot ($PERF_FILE)"
    note "this weakens the board: every user of it may count events of their own processes, and use that system call"
  }
  ! is_kept value || [ -e "$PERF_FILE" ] || change "at every boot: $PERF_FILE"
}

perf_do() {
  keep value "$(cat "$PERF_SETTING")"
  echo "kernel.perf_event_paranoid = $PERF_WANTED" | put_file "$PERF_FILE"
  echo "$PERF_WANTED" > "$PERF_SETTING"
}

perf_undo() {
  rm -f "$PERF_FILE"
  kept value > "$PERF_SETTING"
  change "kernel.perf_event_paranoid: $(kept value), $PERF_FILE gone"
}
