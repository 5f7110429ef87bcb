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
$verify_defaults
END_OF_FILE
    alert_unit
    verify_units

    sum_up mailcow-cert-verify.timer
    [ -x /etc/certsync/alert ] ||
        todo 'to be told of failures, put a program there:' /etc/certsync/alert
    tell_missing "$missing"
}

main </dev/null
