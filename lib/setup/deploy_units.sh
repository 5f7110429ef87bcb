# Has deploy run here: its units, and what starts them. What it names and does not assign comes from
# setup.ts.
# shellcheck shell=sh disable=SC2154

deploy_units() {
    unit mailcow-cert-deploy.service <<END_OF_FILE
$deploy_service
END_OF_FILE
    unit mailcow-cert-deploy.timer <<END_OF_FILE
$deploy_timer
END_OF_FILE
    unit "$deploy_path_unit" <<END_OF_FILE
$deploy_path
END_OF_FILE
    drop_in mailcow-cert-deploy.service <<END_OF_FILE
$deploy_drop_in
END_OF_FILE
    watch_staging "$deploy_watch"
    start mailcow-cert-deploy.timer
    start "$deploy_path_unit"
    stop "$deploy_path_unused"
}
