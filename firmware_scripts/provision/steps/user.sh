# shellcheck shell=sh
# title: measuring user
# runs as: root
# without it: models run as the user who logs in, who must be in the group video to ask for throttling
# The account has no password and no rights; it lets in the keys that the login user lets in.

user_home() { getent passwd "$1" | cut -d: -f6; }
user_keys() { printf '%s/.ssh/authorized_keys' "$(user_home "$1")"; }
# What is done in a home is done as its owner, for whom models run: a link that lies there leads root nowhere.
user_as() {
  setpriv --reuid "$(id -u "$1")" --regid "$(id -g "$1")" --init-groups -- /bin/sh -c "$2" sh "$(user_home "$1")"
}
user_exists() { getent passwd "$MEASURE_USER" > /dev/null; }
# vcgencmd, which knows of throttling on a Raspberry Pi, asks a device that belongs to this group.
user_lacks_video() {
  [ -e /dev/vcio ] && getent group video > /dev/null && ! id -nG "$MEASURE_USER" 2> /dev/null | grep -qw video
}
user_lacks_keys() {
  [ "$MEASURE_USER" != "$LOGIN_USER" ] || return 1
  # Only root may look into another's home, and without root nothing is changed here.
  [ "$(id -u)" = 0 ] || return 1
  ! holds "$(user_keys "$MEASURE_USER")" < "$(user_keys "$LOGIN_USER")"
}

user_check() {
  if ! user_exists; then
    change "account $MEASURE_USER, without password and rights, for the keys of $LOGIN_USER"
  elif user_lacks_keys; then
    change "$MEASURE_USER lets in the keys of $LOGIN_USER"
  fi
  ! user_lacks_video || change "$MEASURE_USER in the group video, which may ask for throttling"
}

user_do() {
  if ! user_exists; then
    keep created "$MEASURE_USER"
    # A star is a password that nothing matches; the ! of a locked account would keep keys out, too.
    useradd --create-home --user-group --shell /bin/sh --password '*' "$MEASURE_USER"
  fi
  if user_lacks_keys; then
    [ -s "$(user_keys "$LOGIN_USER")" ] || fail "$LOGIN_USER has no authorized_keys to let into $MEASURE_USER: ssh-copy-id"
    is_kept created || {
      [ ! -e "$(user_keys "$MEASURE_USER")" ] || fail "$MEASURE_USER has keys of its own: log in with one, as that user"
      keep keys "$MEASURE_USER"
    }
    # shellcheck disable=SC2016 # for the shell of the other user
    user_as "$MEASURE_USER" 'umask 077; cd "$1" && mkdir -p .ssh && cat > .ssh/authorized_keys.edgeopt-new &&
      mv .ssh/authorized_keys.edgeopt-new .ssh/authorized_keys' < "$(user_keys "$LOGIN_USER")"
  fi
  ! user_lacks_video || {
    is_kept created || keep video "$MEASURE_USER"
    usermod --append --groups video "$MEASURE_USER"
  }
}

user_undo() {
  if is_kept created; then
    name=$(kept created)
    # What it has started would keep the account from going.
    ! getent passwd "$name" > /dev/null || {
      ! have pkill || pkill -KILL -u "$name" || :
      userdel --remove "$name"
    }
    # Of the same name; userdel takes it along only where login.defs says so.
    ! getent group "$name" > /dev/null || groupdel "$name"
    change "account $name gone, with its home"
    return
  fi
  # shellcheck disable=SC2016 # for the shell of the other user
  ! is_kept keys || {
    user_as "$(kept keys)" 'rm -f "$1/.ssh/authorized_keys"'
    change "keys of $(kept keys) gone"
  }
  ! is_kept video || { gpasswd -d "$(kept video)" video; change "$(kept video) no longer in the group video"; }
}
