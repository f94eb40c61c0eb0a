# shellcheck shell=sh
# title: memory cgroup
# runs as: root
# asked for by: --with cgroup
# without it: memory.peak is missing on Raspberry Pi OS; peak memory comes from VmHWM and PSS alone
# Source: Raspberry Pi documentation, kernel command line; Linux, kernel-parameters.txt, cgroup_enable=

CGROUP_WORD=cgroup_enable=memory

cgroup_line() {
  for file in /boot/firmware/cmdline.txt /boot/cmdline.txt; do
    [ ! -f "$file" ] || { echo "$file"; return; }
  done
}

cgroup_check() {
  ! grep -qsw memory /sys/fs/cgroup/cgroup.controllers || return 0
  line=$(cgroup_line)
  [ -n "$line" ] || not_here "the kernel has no memory cgroup, and its command line is not in /boot/firmware/cmdline.txt"
  grep -qw "$CGROUP_WORD" "$line" || change "$CGROUP_WORD in $line"
  reboot_needed "the memory cgroup is there from the next boot"
}

cgroup_do() {
  line=$(cgroup_line)
  keep line "$line"
  # The whole command line is one line, and a second one would be ignored.
  sed "1s/\$/ $CGROUP_WORD/" "$line" | put_file "$line"
}

cgroup_undo() {
  line=$(kept line)
  sed "1s/ $CGROUP_WORD//" "$line" | put_file "$line"
  change "$CGROUP_WORD no longer in $line"
  reboot_needed "the memory cgroup is gone from the next boot"
}
