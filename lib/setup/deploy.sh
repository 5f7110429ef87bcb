# Makes a host deploy the certificate. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

# ensure_user NAME HOME: an account that nothing but a key lets in.
ensure_user() {
    if ! getent passwd "$1" >/dev/null; then
        useradd --no-create-home --home-dir "$2" --shell /bin/sh --password '*' --user-group "$1"
        changed "created: user $1"
        return
    fi
    did=unchanged
    # sshd runs the forced command through the login shell, and takes ! for a locked account.
    if [ "$(getent passwd "$1" | cut -d : -f 6,7)" != "$2:/bin/sh" ] ||
        [ "$(getent shadow "$1" | cut -d : -f 2)" != '*' ]; then
        usermod --home "$2" --shell /bin/sh --password '*' "$1"
        did="home $2, shell /bin/sh and no password now"
    fi
    if [ "$did" = unchanged ]; then say "$did: user $1"; else changed "user $1: $did"; fi
}

# keep_limits BLOB OPTIONS FILE: from where and until when alone that key was let in holds for its new
# line too, unless that has limits of its own.
keep_limits() {
    limits=$(printf '%s\n' "$2" | grep -oE '(from|expiry-time)="[A-Za-z0-9.:,*?!/_-]+"' | tr '\n' ',') || :
    [ -n "$limits" ] || return 0
    awk -v blob="$1" -v limits="$limits" \
        'index($0, " " blob) && /^command=/ { $0 = limits $0 } { print }' "$work/keys" >"$work/limited"
    cmp -s "$work/keys" "$work/limited" || say "stays for that key in $3, unless its line is removed first: ${limits%,}"
    mv -f "$work/limited" "$work/keys"
}

# authorize FILE: standard input becomes that file, with those lines for other keys that can do no
# more than receive into the staging too. Any other line is set aside.
authorize() {
    cat >"$work/keys"
    : >"$work/aside"
    before=$1
    [ -f "$before" ] || before=/dev/null
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in '' | '#'*) continue ;; esac
        blob=$(printf '%s\n' "$line" | sed -n 's|.* \(AAAA[A-Za-z0-9+/=]*\).*|\1|p')
        if [ -n "$blob" ] && tr ' ' '\n' <"$work/keys" | grep -Fqx "$blob"; then
            keep_limits "$blob" "${line%%"$blob"*}" "$1"
            continue
        fi
        if printf '%s\n' "$line" | grep -Eq "$kept_lines" && print=$(printf '%s\n' "$line" | ssh-keygen -lf -); then
            printf '%s\n' "$line" >>"$work/keys"
            say "stays in $1: $print"
            say "    to remove it: sed -i '\|$blob|d' $1"
        else
            printf '%s\n' "$line" >>"$work/aside"
        fi
    done <"$before"
    if [ -s "$work/aside" ]; then
        no_directory "$1.disabled"
        (umask 077 && cat "$work/aside" >>"$1.disabled")
        changed "set aside in $1.disabled: $(wc -l <"$work/aside") of the lines in $1"
    fi
    put 644 "$1" <"$work/keys"
}

# host_key: the key by which ssh knows this host.
host_key() {
    for file in $(sshd -T 2>/dev/null | sed -n 's/^hostkey //p') /etc/ssh/ssh_host_ed25519_key; do
        ! grep -s '^ssh-ed25519 ' "$file.pub" | cut -d ' ' -f 1,2 | grep . || return 0
    done
    fail 'this host has no ed25519 ssh host key' 'ssh-keygen -A makes one'
}

main() {
    need_certsync
    need rsync rsync
    need openssl openssl
    need sshd openssh-server
    need ssh-keygen openssh-client
    [ -n "$is_given_keys" ] || grep -Eqs "$kept_lines" /home/certsync/.ssh/authorized_keys ||
        fail 'no key is let in here that could push' \
            'run certsync setup push on the NPM host first: its script prints the line for this one'
    find_sandbox

    ensure_user certsync /home/certsync
    directory 755 root:root /home/certsync
    parents "$staging"
    # What a push left there stays, whoever it belonged to before this host was rebuilt.
    if [ -d "$staging" ] && [ "$(stat -c %U "$staging")" != certsync ] &&
        [ -n "$(find "$staging" -mindepth 1 ! -name fullchain.pem ! -name privkey.pem)" ]; then
        fail "$staging belongs to somebody else and holds other files than a push's" \
            'see what is in it; the staging must be a directory of its own'
    fi
    directory 700 "certsync:$(id -gn certsync)" "$staging"
    # The account must not be able to change what it may do.
    directory 755 root:root /home/certsync/.ssh
    authorize /home/certsync/.ssh/authorized_keys <<END_OF_FILE
$authorized_keys
END_OF_FILE
    if [ -e /home/certsync/.ssh/authorized_keys2 ]; then
        no_directory /home/certsync/.ssh/authorized_keys2.disabled
        mv -f /home/certsync/.ssh/authorized_keys2 /home/certsync/.ssh/authorized_keys2.disabled
        changed 'set aside: /home/certsync/.ssh/authorized_keys2, which sshd reads too'
    fi

    directory 755 root:root /etc/certsync
    parents "$state"
    directory 700 root:root "$state"
    config "$config_file" <<END_OF_FILE
# certsync on the mail host. Flags override this file, and it overrides mailcow.conf.

# The name that the certificate must cover; the default is MAILCOW_HOSTNAME.
$yaml_domain
# Further names under which mailcow serves mail, each with a certificate of its own.
$yaml_also
deploy:
$yaml_mailcow
$yaml_staging
$yaml_state
$deploy_defaults
END_OF_FILE
    alert_unit
    deploy_units

    sum_up mailcow-cert-deploy.timer "$deploy_path_unit"
    tell_unseen "$unseen"
    look_at_mailcow deploy "$mailcow"
    logins=$(sshd -T -C user=certsync,host=localhost,addr=127.0.0.1 2>/dev/null |
        grep -E '^(allow|deny)(users|groups) ') || :
    [ -z "$logins" ] || todo 'see that sshd lets certsync in:' "$logins"
    key=$(host_key)
    todo 'on the NPM host, as root:' '' "$key" '' "certsync setup push --host-key '$key'$also_flags | sh" \
        'certsync push --force' ''
    todo 'then, here:' "certsync deploy$config_flag" "certsync verify$config_flag"
    [ -e "$staging/fullchain.pem" ] ||
        say 'until that push, mailcow-cert-deploy.service has nothing to do, and says so'
    tell_missing "$missing"
}

main </dev/null
