# Has the failures of every unit told. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

alert_unit() {
    unit mailcow-cert-alert@.service <<END_OF_FILE
$alert
END_OF_FILE
    tell_alert <<END_OF_FILE
$tell_alert
END_OF_FILE
}
