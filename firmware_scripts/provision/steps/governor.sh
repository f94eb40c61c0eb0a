# shellcheck shell=sh
# title: frequency governor
# runs as: root
# without it: the clock follows the load, so that latencies of short models scatter
# Source: Linux, Documentation/admin-guide/pm/cpufreq.rst

GOVERNOR=performance
GOVERNOR_UNIT=/etc/systemd/system/edgeopt-governor.service
GOVERNOR_POLICIES=/sys/devices/system/cpu/cpufreq

# Of $$, systemd makes the $ that the shell gets.
governor_unit() {
  cat << END
[Unit]
Description=edgeopt: the same clock for every measurement
After=raspi-config.service ondemand.service cpufrequtils.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for policy in $GOVERNOR_POLICIES/policy*; do echo $GOVERNOR > \$\$policy/scaling_governor; done'

[Install]
WantedBy=multi-user.target
END
}

governor_check() {
  found=
  for policy in "$GOVERNOR_POLICIES"/policy*; do
    [ -e "$policy/scaling_governor" ] || continue
    found=yes now=$(cat "$policy/scaling_governor")
    grep -qw "$GOVERNOR" "$policy/scaling_available_governors" ||
      not_here "${policy##*/} offers no governor $GOVERNOR, only: $(cat "$policy/scaling_available_governors")"
    [ "$now" = "$GOVERNOR" ] || change "${policy##*/}: $now -> $GOVERNOR"
  done
  [ -n "$found" ] || not_here "no frequency scaling in $GOVERNOR_POLICIES"
  if ! has_systemd; then
    note "there is no systemd here: the governor is set until the next boot only"
  elif ! governor_unit | holds "$GOVERNOR_UNIT"; then
    change "at every boot: $GOVERNOR_UNIT"
  fi
}

governor_do() {
  if has_systemd; then
    keep unit "$GOVERNOR_UNIT"
    governor_unit | put_file "$GOVERNOR_UNIT"
    systemctl daemon-reload
    systemctl enable "${GOVERNOR_UNIT##*/}"
  fi
  for policy in "$GOVERNOR_POLICIES"/policy*; do
    now=$(cat "$policy/scaling_governor")
    [ "$now" != "$GOVERNOR" ] || continue
    keep "${policy##*/}" "$now"
    echo "$GOVERNOR" > "$policy/scaling_governor"
  done
}

governor_undo() {
  for name in $(kept_names); do
    [ "$name" != unit ] || {
      [ ! -e "$GOVERNOR_UNIT" ] || systemctl disable "${GOVERNOR_UNIT##*/}"
      rm -f "$GOVERNOR_UNIT"
      systemctl daemon-reload
      change "$GOVERNOR_UNIT gone"
      continue
    }
    before=$(kept "$name")
    echo "$before" > "$GOVERNOR_POLICIES/$name/scaling_governor"
    change "$name: $before"
  done
}
