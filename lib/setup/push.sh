# Makes a host push the certificate. What it names and does not assign comes from setup.ts.
# shellcheck shell=sh disable=SC2154

# ensure_key FILE: an ssh key without a passphrase; one that is there is kept.
ensure_key() {
    [ -d "$(dirname "$1")" ] || directory 700 root:root "$(dirname "$1")"
    if [ ! -e "$1" ]; then
        ssh-keygen -q -t ed25519 -N '' -C "$comment" -f "$1"
        changed "created: $1"
    elif [ "$(stat -L -c %a:%u "$1")" != 600:0 ]; then
        chown root "$1"
        chmod 600 "$1"
        changed "now of root alone: $1"
    else
        say "unchanged: $1"
    fi
    key=$(ssh-keygen -y -P '' -f "$1" | cut -d ' ' -f 1,2)
    [ -n "$key" ] || fail "\"$1\" is no key that push can use" 'it must be a private ssh key without a passphrase'
}
comment=certsync-push@$(uname -n | tr -cd 'A-Za-z0-9._-')

# known_host NAME KEY FILE: makes KEY the only one of that host; all other entries stay.
known_host() {
    mode=644
    : >"$work/known"
    if [ -e "$3" ]; then
        mode=$(stat -L -c %a "$3")
        cat "$3" >"$work/known"
    fi
    # Which of the hashed names is this one, ssh-keygen alone can tell.
    lines=$(ssh-keygen -F "$1" -f "$work/known" | sed -n 's/^# Host .* found: line \([0-9]*\).*/\1/p')
    awk -v name="$1" -v entry="$1 $2" -v lines="$lines" '
        function put_entry() { if (!is_put++) print entry }
        BEGIN { count = split(lines, list); for (i = 1; i <= count; i++) is_named[list[i]] = 1 }
        $1 ~ /^\|/ && NR in is_named { put_entry(); next }
        {
            is_found = 0; others = ""
            count = split($1, names, ",")
            for (i = 1; i <= count; i++) {
                if (names[i] == name) is_found = 1
                else others = others (others == "" ? "" : ",") names[i]
            }
            if (is_found) put_entry()
            if (is_found && others == "") next
            if (is_found) sub(/^[ \t]*[^ \t]+/, others)
            print
        }
        END { put_entry() }' "$work/known" >"$work/known.new"
    put "$mode" "$3" <"$work/known.new"
}

# server_command TARGET: what the rsync of this host will ask the other one to run.
server_command() {
    # As push calls it: without the settings of whoever runs this.
    env -i PATH="$PATH" rsync -azL --debug=CMD -e /bin/false -- /dev/null "$1" 2>&1 |
        sed -n 's/.*\(rsync --server .*\)/\1/; s/ *([0-9]* args) *$//; s/"//g; /^rsync --server /p'
}

# tell_mail_hosts [TARGET NAME]...: what is left to do on each, and here for it. By NAME ssh looks it
# up in known_hosts.
tell_mail_hosts() {
    while [ $# != 0 ]; do
        target=$1 name=$2
        shift 2
        login=${target%%:/*}
        user=${login%%@*} host=${login#*@}
        [ "$user" != "$login" ] || user=root
        host=${host#\[}
        host=${host%]}
        named=''
        [ "$name" = "$host" ] || named="$name "

        command=$(server_command "$target")
        [ -n "$command" ] || fail 'this rsync does not tell what it asks for' 'install rsync 3.1 or newer'
        line="command=\"$command\",restrict $key $comment"
        todo "on $host, as root, unless this line is in its authorized_keys:" '' "$line" '' \
            "certsync setup deploy --authorized-key '$line'$also_flags | sh" ''
        [ "$user" = certsync ] ||
            todo "setup deploy makes the user certsync there; $target logs in as $user"
        ssh-keygen -F "$name" -f "$known_hosts" >/dev/null 2>&1 ||
            todo 'here, with the ssh host key that it prints there:' \
                "certsync setup push$config_flag --host-key '${named}ssh-ed25519 AAAA…' | sh"
    done
}

main() {
    need_certsync
    need rsync rsync
    need openssl openssl
    need ssh openssh-client
    need ssh-keygen openssh-client
    see_source "$push_live"
    find_sandbox

    directory 755 root:root /etc/certsync
    parents "$state"
    directory 700 root:root "$state"
    ensure_key "$identity"
    known_host "$host_key"
    config "$config_file" <<END_OF_FILE
# certsync on the host with Nginx Proxy Manager. Flags override this file.

# The name that the certificate must cover.
domain: $yaml_domain
# Further names under which mailcow serves mail, each with a certificate of its own.
$yaml_also
push:
  # Where it goes; a list if to several hosts.
  to:$yaml_to
  identity: $identity
  known_hosts: $known_hosts
$yaml_port
$yaml_state
$yaml_live
$push_defaults
END_OF_FILE
    alert_unit
    push_units

    sum_up mailcow-cert-push.timer "$push_path_unit"
    tell_unseen "$unseen"
    find_certificates "$config_file" "$names"
    tell_mail_hosts "$targets"
    todo 'last, here:' "certsync push --force$config_flag"
    tell_missing "$missing"
}

main </dev/null
