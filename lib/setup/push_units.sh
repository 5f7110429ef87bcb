# Has push run here: its units, and what starts them. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

push_units() {
    unit mailcow-cert-push.service <<END_OF_FILE
$push_service
END_OF_FILE
    unit mailcow-cert-push.timer <<END_OF_FILE
$push_timer
END_OF_FILE
    unit "$push_path_unit" <<END_OF_FILE
$push_path
END_OF_FILE
    drop_in mailcow-cert-push.service <<END_OF_FILE
$push_drop_in
END_OF_FILE
    watch_source "$push_watch"
    start mailcow-cert-push.timer
    start "$push_path_unit"
    stop "$push_path_unused"
}
