# Makes a machine on which both Nginx Proxy Manager and mailcow run carry the certificate from one to the
# other. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

main() {
    need_certsync
    need rsync rsync
    need openssl openssl
    find_sandbox

    directory 755 root:root /etc/certsync
    for dir in "$push_state" "$deploy_state" "$staging"; do
        parents "$dir"
        directory 700 root:root "$dir"
    done
    config "$config_file" <<END_OF_FILE
# certsync where Nginx Proxy Manager and mailcow are on one machine. Flags override this file.

# The name that the certificate must cover.
domain: $yaml_domain
# Further names under which mailcow serves mail, each with a certificate of its own.
$yaml_also
push:
  # From here deploy takes it.
  to: $staging/
$yaml_push_state
  # Where this host sees NPM's certificates; with Docker, its side of the volume. The default is
  # those of these two that exist: /etc/nginx/letsencrypt/live and /etc/letsencrypt/live.
$yaml_live
  # Which of them: auto, the best for the domain, anew each run; or npm-5; or a directory.
  # source: auto
  # Whose word the chain is taken on: system, none, or a CA file.
  # trust: system
deploy:
$yaml_mailcow
  staging: $staging
$yaml_deploy_state
  # Whose word the chain is taken on: system, none, or a CA file.
  # trust: system
  # How the services take a new certificate: reload, or restart.
  # apply: reload
  # How long a reloaded service may take to serve the new one, and a restarted one.
  # settle: 30s
  # restart_timeout: 5m
  # What is looked at afterwards; the default is all that docker publishes of mailcow.
  # endpoints: [imaps://127.0.0.1:993]
END_OF_FILE
    unit mailcow-cert-push.service <<END_OF_FILE
$push_service
END_OF_FILE
    unit mailcow-cert-push.timer <<END_OF_FILE
$push_timer
END_OF_FILE
    unit "$push_path_unit" <<END_OF_FILE
$push_path
END_OF_FILE
    unit mailcow-cert-deploy.service <<END_OF_FILE
$deploy_service
END_OF_FILE
    unit mailcow-cert-deploy.timer <<END_OF_FILE
$deploy_timer
END_OF_FILE
    unit "$deploy_path_unit" <<END_OF_FILE
$deploy_path
END_OF_FILE
    unit mailcow-cert-alert@.service <<END_OF_FILE
$alert
END_OF_FILE
    tell_alert <<END_OF_FILE
$tell_alert
END_OF_FILE
    drop_in mailcow-cert-push.service <<END_OF_FILE
$push_drop_in
END_OF_FILE
    watch_source "$push_watch"
    drop_in mailcow-cert-deploy.service <<END_OF_FILE
$deploy_drop_in
END_OF_FILE
    watch_staging "$deploy_watch"
    start mailcow-cert-push.timer
    start "$push_path_unit"
    stop "$push_path_unused"
    start mailcow-cert-deploy.timer
    start "$deploy_path_unit"
    stop "$deploy_path_unused"

    sum_up mailcow-cert-push.timer mailcow-cert-deploy.timer "$path_units"
    find_certificates "$config_file" "$names"
    look_at_mailcow local "$mailcow"
    todo 'last:' "certsync push$config_flag" "certsync deploy$config_flag" "certsync verify$config_flag"
    tell_missing "$missing"
}

main </dev/null
