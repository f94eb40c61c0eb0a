# shellcheck shell=sh
# What every provisioning step uses. A step is a file of steps/ that defines
#   STEP_check   says with `change` what differs from what is wanted, and nothing if nothing does
#   STEP_do      makes it so; keeps what was there before with `keep`, before it is changed
#   STEP_undo    restores what was kept; whatever it finds done already is fine
# Each runs in a subshell with `set -eu`, so that an interrupted or failed one can be repeated.

FORMAT=1
LOCK_TRIES=60
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

change() { printf 'change\t%s\n' "$*"; }
note() { printf 'note\t%s\n' "$*"; }
reboot_needed() { printf 'reboot\t%s\n' "$*"; }
# Ends the step: there is nothing on this board that it could change.
not_here() { printf 'reason\t%s\n' "$*"; exit 3; }
fail() { printf 'reason\t%s\n' "$*"; exit 1; }

# The record of what was there before: one file per value. The first value stays, however often a step is repeated.
keep() {
  [ ! -e "$RECORDS/$STEP/$1" ] || return 0
  mkdir -p "$RECORDS/$STEP"
  printf '%s\n' "$2" > "$RECORDS/$STEP/$1.new"
  sync "$RECORDS/$STEP/$1.new"
  mv "$RECORDS/$STEP/$1.new" "$RECORDS/$STEP/$1"
}
is_kept() { [ -e "$RECORDS/$STEP/$1" ]; }
kept() { cat "$RECORDS/$STEP/$1"; }
kept_names() {
  for record in "$RECORDS/$STEP"/*; do
    case $record in *.new | */\*) ;; *) printf '%s\n' "${record##*/}" ;; esac
  done
}

# A file is replaced as a whole, from stdin, or not at all.
put_file() {
  mkdir -p "${1%/*}"
  cat > "$1.edgeopt-new"
  chmod "${2:-644}" "$1.edgeopt-new"
  sync "$1.edgeopt-new"
  mv "$1.edgeopt-new" "$1"
}

# Whether a file holds just what stdin says.
holds() { [ -f "$1" ] && [ "$(cat && echo .)" = "$(cat "$1" && echo .)" ]; }

has_systemd() { [ -d /run/systemd/system ]; }
have() { command -v "$1" > /dev/null; }

# attempt FUNCTION: what it says, with what programs complain of as lines without a tag.
attempt() {
  (
    set -eu
    "$1"
  ) < /dev/null 2>&1
}

of_kind() { printf '%s\n' "$said" | sed -n "s/^$1	//p"; }
# Of a failed step: the reason that it gave, else the last thing that a program complained of.
ended() {
  reason=$(of_kind reason | tail -n 1)
  [ -n "$reason" ] || reason=$(printf '%s\n' "$said" | grep -v '	' | grep . | tail -n 1)
  [ "$1" = 3 ] && state=not-applicable || state=failed
  printf 'reason\t%s\nstate\t%s\n' "${reason:-it ended with status $1}" "$state"
}
remarks() { printf '%s\n' "$said" | grep -E '^(note|reboot|python)	' || :; }

check_step() {
  said=$(attempt "${STEP}_check")
  status=$?
  [ $status = 0 ] || { ended $status; return; }
  remarks
  [ -n "$(of_kind change)" ] || { printf 'state\tunchanged\n'; return; }
  printf '%s\n' "$said" | grep '^change	'
  printf 'state\twould-change\n'
}

do_step() {
  said=$(attempt "${STEP}_check")
  status=$?
  [ $status = 0 ] || { ended $status; return; }
  changes=$(of_kind change)
  [ -n "$changes" ] || { remarks; printf 'state\tunchanged\n'; return; }
  before=$said
  said=$(attempt "${STEP}_do")
  status=$?
  [ $status = 0 ] || { ended $status; return; }
  remarks
  said=$(attempt "${STEP}_check")
  status=$?
  [ $status = 0 ] || { ended $status; return; }
  remarks
  if [ -n "$(of_kind change)" ]; then
    printf 'reason\tthis did not hold: %s\nstate\tfailed\n' "$(of_kind change | head -n 1)"
    return
  fi
  printf '%s\n' "$before" | grep -E '^(change|note)	'
  printf 'state\tchanged\n'
}

undo_step() {
  [ -n "$(kept_names)" ] || { rm -rf "${RECORDS:?}/$STEP"; printf 'state\tunchanged\n'; return; }
  said=$(attempt "${STEP}_undo")
  status=$?
  [ $status = 0 ] || { ended $status; return; }
  remarks
  printf '%s\n' "$said" | grep '^change	'
  rm -rf "${RECORDS:?}/$STEP"
  rmdir "$RECORDS" "${RECORDS%/*}" 2> /dev/null
  printf 'state\trestored\n'
}

# One at a time: a run whose connection was cut goes on until its step ends, and the next one waits for it.
locked() {
  have flock || { printf 'reason\tflock (util-linux) is missing: install it\nstate\tfailed\n'; exit; }
  mkdir -p "${LOCK%/*}"
  exec 9> "$LOCK"
  tries=0
  until flock -n 9; do
    tries=$((tries + 1))
    [ $tries -lt $LOCK_TRIES ] || {
      printf 'reason\tanother provisioning has been at work here for a minute: wait until it ends\nstate\tfailed\n'
      exit
    }
    sleep 1
  done
}

# main check|do|undo STEP, or main reboot
main() {
  action=$1 STEP=${2-}
  umask 022
  if [ "$SCOPE" = user ]; then
    RECORDS=${XDG_STATE_HOME:-$HOME/.local/state}/edgeopt/provision LOCK=$HOME/.cache/edgeopt/provision.lock
  else
    RECORDS=/var/lib/edgeopt/provision LOCK=/run/edgeopt-provision.lock
  fi
  printf 'edgeopt-provision\t%s\n' "$FORMAT"
  case $action in
    check) check_step ;;
    do) locked; do_step ;;
    undo) [ ! -d "$RECORDS" ] || locked; undo_step ;;
    reboot)
      sync
      if has_systemd; then systemctl reboot; elif have reboot; then reboot; else busybox reboot -f; fi
      ;;
  esac
}
