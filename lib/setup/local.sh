# Makes a machine on which both Nginx Proxy Manager and mailcow run carry the certificate from one to the
# other. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

main() {
    need_certsync
    need rsync rsync
    need openssl openssl
    see_source "$push_live"
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
$yaml_live
$push_defaults
deploy:
$yaml_mailcow
  staging: $staging
$yaml_deploy_state
$deploy_defaults
END_OF_FILE
    alert_unit
    push_units
    deploy_units

    sum_up mailcow-cert-push.timer mailcow-cert-deploy.timer "$path_units"
    tell_unseen "$unseen"
    find_certificates "$config_file" "$names"
    look_at_mailcow local "$mailcow"
    todo 'last:' "certsync push$config_flag" "certsync deploy$config_flag" "certsync verify$config_flag"
    tell_missing "$missing"
}

main </dev/null
