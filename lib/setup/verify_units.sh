# Has verify run here: its units, and what starts them. What it names and does not assign comes from
# setup.ts.
# shellcheck shell=sh disable=SC2154

verify_units() {
    unit mailcow-cert-verify.service <<END_OF_FILE
$verify_service
END_OF_FILE
    unit mailcow-cert-verify.timer <<END_OF_FILE
$verify_timer
END_OF_FILE
    drop_in mailcow-cert-verify.service <<END_OF_FILE
$verify_drop_in
END_OF_FILE
    start mailcow-cert-verify.timer
}
