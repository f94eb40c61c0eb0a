# shellcheck shell=sh
# title: I²C power meter
# runs as: root
# asked for by: --meter
# without it: a meter on the board's own I²C bus cannot be read
# The kernel's drivers take the chip's address and shunt through sysfs, on any board; on a Raspberry Pi the bus is
# off until config.txt turns it on.
# Source: Linux, Documentation/hwmon/ina2xx.rst and Documentation/i2c/instantiating-devices.rst; Raspberry Pi
# documentation, config.txt, dtparam=i2c_arm

I2C_UNIT=/etc/systemd/system/edgeopt-meter.service
I2C_BEGIN='# edgeopt: I2C bus of the power meter'
I2C_END='# edgeopt: end'

i2c_config() {
  for file in /boot/firmware/config.txt /boot/config.txt; do
    [ ! -f "$file" ] || { echo "$file"; return; }
  done
}
i2c_bus() { echo "/sys/bus/i2c/devices/i2c-$METER_BUS"; }
i2c_device() { printf '/sys/bus/i2c/devices/%d-%04x' "$METER_BUS" "$METER_ADDRESS"; }
i2c_attach() {
  cat << END
d=$(i2c_device); [ -e \$d ] || echo $METER_CHIP $METER_ADDRESS > $(i2c_bus)/new_device
for i in 1 2 3 4 5; do s=\$(ls \$d/hwmon/hwmon*/shunt_resistor \$d/shunt_resistor 2> /dev/null) && break; sleep 1; done
[ -z "\$s" ] || echo $METER_SHUNT_MICROOHM > \$s
END
}
i2c_unit() {
  cat << END
[Unit]
Description=edgeopt: power meter $METER_CHIP at $METER_ADDRESS of I2C bus $METER_BUS
ConditionPathExists=$(i2c_bus)

[Service]
Type=oneshot
ExecStart=/bin/sh $I2C_SCRIPT

[Install]
WantedBy=multi-user.target
END
}
I2C_SCRIPT=/usr/local/lib/edgeopt/attach-meter

i2c_check() {
  [ -n "$METER_CHIP" ] || not_here "no meter was named: --meter CHIP@BUS:ADDRESS --shunt-ohm OHM"
  config=$(i2c_config)
  if [ -e "$(i2c_bus)" ]; then
    [ -e "$(i2c_device)" ] || change "$METER_CHIP attached at $METER_ADDRESS of bus $METER_BUS"
  elif [ -z "$config" ]; then
    not_here "there is no I²C bus $METER_BUS: turn it on in the device tree of this board, see docs/boards"
  elif grep -qxF "$I2C_BEGIN" "$config"; then
    reboot_needed "the I²C bus is on from the next boot"
  else
    change "dtparam=i2c_arm=on in $config"
    reboot_needed "the I²C bus is on from the next boot"
  fi
  i2c_attach | holds "$I2C_SCRIPT" || change "$I2C_SCRIPT, which names chip and shunt ($METER_SHUNT_MICROOHM µΩ)"
  if ! has_systemd; then
    note "there is no systemd here: run $I2C_SCRIPT at boot"
  elif ! i2c_unit | holds "$I2C_UNIT"; then
    change "at every boot: $I2C_UNIT"
  fi
}

i2c_do() {
  keep script "$I2C_SCRIPT"
  i2c_attach | put_file "$I2C_SCRIPT" 755
  if has_systemd; then
    keep unit "$I2C_UNIT"
    i2c_unit | put_file "$I2C_UNIT"
    systemctl daemon-reload
    systemctl enable "${I2C_UNIT##*/}"
  fi
  config=$(i2c_config)
  if [ -e "$(i2c_bus)" ]; then
    [ -e "$(i2c_device)" ] || keep device "$METER_ADDRESS $(i2c_bus)"
    sh "$I2C_SCRIPT"
  elif ! grep -qxF "$I2C_BEGIN" "$config"; then
    keep config "$config"
    # [all] ends whatever section, such as [pi4], the file ends with.
    {
      cat "$config"
      [ -z "$(tail -c 1 "$config")" ] || echo
      printf '%s\n[all]\ndtparam=i2c_arm=on\n%s\n' "$I2C_BEGIN" "$I2C_END"
    } | put_file "$config"
  fi
}

i2c_undo() {
  if is_kept device; then
    read -r address bus < "$RECORDS/$STEP/device"
    echo "$address" > "$bus/delete_device" || :
    change "$address of ${bus##*/} detached"
  fi
  if is_kept unit; then
    [ ! -e "$I2C_UNIT" ] || systemctl disable "${I2C_UNIT##*/}"
    rm -f "$I2C_UNIT"
    systemctl daemon-reload
    change "$I2C_UNIT gone"
  fi
  rm -f "$I2C_SCRIPT"
  rmdir "${I2C_SCRIPT%/*}" 2> /dev/null || :
  if is_kept config; then
    config=$(kept config)
    sed "/^$I2C_BEGIN\$/,/^$I2C_END\$/d" "$config" | put_file "$config"
    change "dtparam=i2c_arm=on no longer in $config"
    reboot_needed "the I²C bus is off from the next boot"
  fi
}
