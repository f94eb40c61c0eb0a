# shellcheck shell=sh
# title: hardware watchdog
# runs as: root
# without it: a board that hangs stays so until somebody cuts its power
# systemd feeds it; 14 s because the Raspberry Pi's counts no further than 15.
# Source: systemd-system.conf(5), RuntimeWatchdogSec=; Linux, drivers/watchdog/bcm2835_wdt.c

WATCHDOG_FILE=/etc/systemd/system.conf.d/90-edgeopt-watchdog.conf
WATCHDOG_S=14

watchdog_config() { printf '[Manager]\nRuntimeWatchdogSec=%s\n' "$WATCHDOG_S"; }
watchdog_is_fed() {
  usual=$(systemctl show --property RuntimeWatchdogUSec --value)
  [ -n "$usual" ] && [ "$usual" != 0 ] && [ "$usual" != off ] && [ "$usual" != infinity ]
}

watchdog_check() {
  [ -e /dev/watchdog ] || not_here "there is no hardware watchdog (/dev/watchdog)"
  has_systemd || not_here "there is no systemd here to feed the watchdog"
  if [ -e "$WATCHDOG_FILE" ]; then
    ! watchdog_config | holds "$WATCHDOG_FILE" || return 0
  elif watchdog_is_fed; then
    return
  fi
  change "systemd feeds /dev/watchdog: a board that hangs for $WATCHDOG_S s reboots ($WATCHDOG_FILE)"
}

watchdog_do() {
  keep file "$WATCHDOG_FILE"
  watchdog_config | put_file "$WATCHDOG_FILE"
  systemctl daemon-reexec
}

watchdog_undo() {
  rm -f "$WATCHDOG_FILE"
  rmdir "${WATCHDOG_FILE%/*}" 2> /dev/null || :
  systemctl daemon-reexec
  change "$WATCHDOG_FILE gone"
}
