# shellcheck shell=sh
# title: swap
# runs as: root
# without it: a model that is too large becomes slow instead of failing, and measurements with swapping are rejected
# Off now, and at every boot: masking swap.target holds back fstab, zram-generator and Raspberry Pi OS's rpi-swap;
# dphys-swapfile (Raspberry Pi OS 12) and zramswap turn swap on by themselves.

# Device, size and use in KiB, priority.
swap_active() { sed 1d /proc/swaps | while read -r device _ size used priority; do echo "$device $size $used $priority"; done; }
swap_used() {
  total=0
  for used in $(swap_active | cut -d ' ' -f 3); do total=$((total + used)); done
  echo "$total"
}
swap_services() {
  for service in dphys-swapfile zramswap; do
    [ "$(systemctl is-enabled "$service" 2> /dev/null)" != enabled ] || echo "$service"
  done
}
swap_is_masked() { [ "$(readlink /etc/systemd/system/swap.target)" = /dev/null ]; }
swap_is_configured() {
  grep -Eqs '^[^#]\S*\s+\S+\s+swap\s' /etc/fstab || [ -e /etc/rpi/swap.conf ] ||
    [ -e /etc/systemd/zram-generator.conf ] || [ -e /usr/lib/systemd/zram-generator.conf ]
}

swap_check() {
  swap_active | while read -r device size _; do change "off: $device ($((size / 1024)) MiB)"; done
  if has_systemd; then
    ! swap_is_configured || swap_is_masked || change "none at the next boot either: swap.target masked"
    for service in $(swap_services); do change "none at the next boot either: $service disabled"; done
  elif swap_is_configured; then
    note "there is no systemd here: /etc/fstab turns swap on again at the next boot"
  fi
}

swap_do() {
  free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
  used=$(swap_used)
  [ "$used" -lt "$free" ] ||
    fail "$((used / 1024)) MiB are in swap and only $((free / 1024)) MiB of memory are free: end programs, or reboot"
  if has_systemd; then
    for service in $(swap_services); do
      keep "service-$service" enabled
      systemctl disable "$service"
    done
    if swap_is_configured && ! swap_is_masked; then
      keep target masked
      systemctl mask swap.target
    fi
  fi
  swap_active | while read -r device _ _ priority; do
    keep "active-$(printf %s "$device" | tr / %)" "$device $priority"
    swapoff "$device"
  done
}

swap_undo() {
  for name in $(kept_names); do
    case $name in
      service-*) systemctl enable --now "${name#service-}"; change "${name#service-} enabled" ;;
      target) systemctl unmask swap.target; systemctl start swap.target; change "swap.target unmasked" ;;
    esac
  done
  for name in $(kept_names); do
    case $name in active-*) ;; *) continue ;; esac
    read -r device priority < "$RECORDS/$STEP/$name"
    swap_active | grep -q "^$device " || swap_on "$device" "$priority"
    change "on: $device"
  done
}

# The kernel itself gives negative priorities; nobody may ask for one.
swap_on() {
  if [ "$2" -ge 0 ]; then swapon --priority "$2" "$1"; else swapon "$1"; fi
}
