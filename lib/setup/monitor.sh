# Makes a host verify the chain daily. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

main() {
    need_certsync
    need openssl openssl
    find_sandbox

    directory 755 root:root /etc/certsync
    config "$config_file" <<END_OF_FILE
# certsync on a host that watches the chain. Flags override this file.

# The name that the certificate must cover.
domain: $yaml_domain
# Further names under which mailcow serves mail, each with a certificate of its own.
$yaml_also
verify:
  # Where the copies lie: a file here, or host:/path, which is read over ssh.
  # source: npm-host:/etc/letsencrypt/live/npm-5/fullchain.pem
  # deployed: mail-host:/opt/mailcow-dockerized/data/assets/ssl/cert.pem
  # Where the certificate is served.
  # endpoints: [imaps://$domain, smtp://$domain]
  # How much must be left of the certificate's whole life, or how many days.
  # warn: 25%
  # critical: 10%
  # How long each endpoint may take to answer.
  # timeout: 10s
END_OF_FILE
    unit mailcow-cert-verify.service <<END_OF_FILE
$verify_service
END_OF_FILE
    unit mailcow-cert-verify.timer <<END_OF_FILE
$verify_timer
END_OF_FILE
    unit mailcow-cert-alert@.service <<END_OF_FILE
$alert
END_OF_FILE
    tell_alert <<END_OF_FILE
$tell_alert
END_OF_FILE
    drop_in mailcow-cert-verify.service <<END_OF_FILE
$verify_drop_in
END_OF_FILE
    start mailcow-cert-verify.timer

    sum_up mailcow-cert-verify.timer
    [ -x /etc/certsync/alert ] ||
        todo 'to be told of failures, put a program there:' /etc/certsync/alert
    tell_missing "$missing"
}

main </dev/null
