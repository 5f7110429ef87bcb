# What the scripts of setup have in common: the steps, each of which changes nothing when run again.
#
# setup.ts prints this and a role's file as they are, below the settings as shell variables. In a
# role's file, here-documents are printed as they will be written, and a "$list" as its words.
# main is a function, so that a script that was cut off does nothing; and what it runs does not read
# the rest of the script, where that comes through a pipe.
# shellcheck shell=sh

set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL

changes=0 has_todo='' kept=''
new='' # the file that is being written
work=$(mktemp -d)
trap 'rm -rf "$work" "$new"' EXIT
trap 'exit 1' HUP INT TERM

say() { printf 'setup: %s\n' "$*"; }
changed() {
    changes=$((changes + 1))
    say "$*"
}
fail() {
    printf 'ERROR: %s\n' "$1" >&2
    printf 'hint: %s\n' "$2" >&2
    exit 1
}

# todo WHAT [LINE...]: what is left to a person, and the lines to type or to write.
todo() {
    [ -n "$has_todo" ] || say 'still to be done by hand:'
    has_todo=1
    printf '  - %s\n' "$1"
    shift
    [ $# = 0 ] || printf '        %s\n' "$@"
}

# no_directory FILE: what is moved to a directory would end up in it.
no_directory() { [ ! -d "$1" ] || fail "a directory is where a file belongs: $1" 'see what is in it, and move it away'; }

# put MODE FILE: standard input becomes that file, root's own, unless it is already.
put() {
    cat >"$work/put"
    no_directory "$2"
    if [ -f "$2" ] && [ ! -L "$2" ] && [ "$(stat -c %a:%u:%g "$2")" = "$1:0:0" ] && cmp -s "$work/put" "$2"; then
        say "unchanged: $2"
        return
    fi
    did=created
    if [ -e "$2" ] || [ -L "$2" ]; then did=replaced; fi
    new=$(mktemp "$2.XXXXXX")
    cat "$work/put" >"$new"
    chmod "$1" "$new"
    mv -f "$new" "$2"
    changed "$did: $2"
}

# directory MODE OWNER:GROUP DIR: that directory with this mode and owner.
directory() {
    did=unchanged
    if [ ! -d "$3" ] || [ -L "$3" ]; then
        if [ -e "$3" ] || [ -L "$3" ]; then
            fail "a directory of its own belongs here, and no link or file: $3" \
                "move it away, and run this again: mv $3 $3.old; what is to lie elsewhere can be mounted here"
        fi
        mkdir -m 700 "$3"
        did=created
    fi
    if [ "$(stat -c %a:%U:%G "$3")" != "$1:$2" ]; then
        chown -h "$2" "$3"
        chmod "00$1" "$3"
        [ $did = created ] || did="now of $2, mode $1"
    fi
    if [ "$did" = unchanged ]; then say "$did: $3/"; else changed "$did: $3/"; fi
}

# parents PATH: the directories above it, where there are none.
parents() { mkdir -p "$(dirname "$1")"; }

# config FILE: standard input becomes the config file if there is none; one that is there stays.
config() {
    cat >"$work/config"
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then
        put 644 "$1" <"$work/config"
    elif cmp -s "$work/config" "$1"; then
        say "unchanged: $1"
    else
        say "kept as it is: $1"
        kept=$1
    fi
}

# carried MODE FILE PACKAGED: standard input becomes that file, unless the package brought the very same.
carried() {
    cat >"$work/carried"
    if ! cmp -s "$work/carried" "$3"; then
        parents "$2"
        put "$1" "$2" <"$work/carried"
    elif [ -e "$2" ] || [ -L "$2" ]; then
        rm -f "$2"
        changed "removed: $2, which hid $3"
    else
        say "unchanged: $3"
    fi
}

# unit NAME: standard input becomes that unit. One of the same name that is in /etc, from an older
# chain, gives way.
unit() {
    own=/etc/systemd/system/$1
    carried 644 "$own" "/usr/lib/systemd/system/$1"
    for file in "$own.d"/*.conf; do
        [ "$file" = "$own.d/certsync-setup.conf" ] || [ ! -e "$file" ] ||
            say "WARNING: $file changes this unit; is it still wanted?"
    done
}

# tell_alert: standard input becomes the program that the alert's unit runs.
tell_alert() { carried 755 /usr/local/lib/certsync/tell-alert /usr/lib/certsync/tell-alert; }

# find_sandbox: whether systemd can lock a service in here; a container without nesting refuses that.
has_sandbox=1
find_sandbox() {
    [ -d /run/systemd/system ] || return 0
    code=0
    systemd-run --wait --pipe --quiet --collect -p PrivateMounts=yes true >/dev/null 2>&1 || code=$?
    case $code in 0 | 226) ;; *) code=$(ask_by_unit) ;; esac
    [ "$code" != 226 ] || has_sandbox=''
}

# ask_by_unit: the same exit code where there is no bus to ask by.
ask_by_unit() {
    probe=/run/systemd/system/certsync-probe.service
    printf '%s\n' '[Service]' Type=oneshot ExecStart=/bin/true PrivateMounts=yes >"$probe"
    systemctl daemon-reload
    systemctl start certsync-probe.service 2>/dev/null || :
    systemctl show --property=ExecMainStatus --value certsync-probe.service
    rm "$probe"
    systemctl reset-failed certsync-probe.service 2>/dev/null || :
    systemctl daemon-reload
}

# without_sandbox: standard input, and behind it what takes off all that needs mounts.
without_sandbox() {
    grep -v '^ReadWritePaths=' "$work/drop-in" || :
    grep -q '^\[Service\]$' "$work/drop-in" || echo '[Service]'
    echo '# This machine refuses the mounts that these need: a container without nesting.'
    for name in PrivateDevices PrivateMounts PrivateTmp ProtectControlGroups ProtectHome \
        ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectSystem; do
        echo "$name=no"
    done
    printf '%s\n' ProtectProc=default ReadOnlyPaths= ReadWritePaths=
}

# drop_in UNIT: standard input becomes what changes that unit on this host; empty means nothing.
drop_in() {
    cat >"$work/drop-in"
    dir=/etc/systemd/system/$1.d
    case $has_sandbox$1 in mailcow-cert-*.service)
        without_sandbox >"$work/open"
        mv -f "$work/open" "$work/drop-in"
        ;;
    esac
    if [ -s "$work/drop-in" ]; then
        directory 755 root:root "$dir"
        put 644 "$dir/certsync-setup.conf" <"$work/drop-in"
    elif [ -e "$dir/certsync-setup.conf" ]; then
        rm "$dir/certsync-setup.conf"
        rmdir --ignore-fail-on-non-empty "$dir"
        changed "removed: $dir/certsync-setup.conf"
    fi
}

# watch PATH-UNIT: it watches the places that are the lines of standard input, and no others.
watch() {
    sort -u >"$work/places"
    file=/etc/systemd/system/$1
    [ -e "$file" ] || file=/usr/lib/systemd/system/$1
    sed -n 's/^PathChanged=//p' "$file" >"$work/standard"
    # No pipe: what is counted behind one is lost.
    if grep -Fqvx -f "$work/standard" "$work/places"; then
        {
            printf '%s\n' '# What is watched on this host.' '[Path]' PathChanged=
            sed 's/%/%%/g; s/^/PathChanged=/' "$work/places"
        } >"$work/watching"
        drop_in "$1" <"$work/watching"
    else
        drop_in "$1" </dev/null
    fi
}

# see_source LIVE...: they must be where push's unit sees them too.
see_source() {
    for live in "$@"; do
        real=$(readlink -f "$live") || real=$live
        case $real in /tmp/* | /var/tmp/*)
            fail "push cannot read what lies in $real: its unit has a /tmp of its own" 'move it elsewhere'
            ;;
        esac
    done
}

# watch_source PATH-UNIT LIVE...: watches what certbot writes beside each of them at a renewal; where
# there are uploaded certificates, which are written in place, the directory of each. One that is a
# certificate's own is watched as the one above it.
watch_source() {
    path_unit=$1
    shift
    see_source "$@"
    for live in "$@"; do
        real=$(readlink -f "$live") || real=$live
        if [ -d "$real/../../renewal" ] && [ -e "$real/fullchain.pem" ]; then
            printf '%s\n' "${real%/*/*}/renewal"
        elif [ -d "$real" ] && [ ! -d "$real/../renewal" ]; then
            find "$real" -maxdepth 1 -type d \( -path "$real" -o -name 'npm-*' \)
        else
            printf '%s\n' "${real%/*}/renewal"
        fi
    done >"$work/watched"
    watch "$path_unit" <"$work/watched"
}

# watch_staging PATH-UNIT STAGING: watches where push delivers.
watch_staging() {
    printf '%s\n' "$2" >"$work/watched"
    watch "$1" <"$work/watched"
}

# start_timer TIMER: enables and starts it, and lets it wait for its next hour. What is over, the minutes
# after a boot or an hour that it missed in an earlier life, would start its service at once.
start_timer() {
    hold=/run/systemd/system/$1.d
    stamp=/var/lib/systemd/timers/stamp-$1
    [ ! -e "$stamp" ] || touch "$stamp"
    hours=$(systemctl cat "$1" | grep '^OnCalendar=')
    mkdir -p "$hold"
    printf '%s\n' '[Timer]' OnBootSec= "$hours" >"$hold/zz-certsync-setup.conf"
    systemctl daemon-reload
    systemctl --quiet enable --now "$1"
    rm "$hold/zz-certsync-setup.conf"
    rmdir --ignore-fail-on-non-empty "$hold"
    systemctl daemon-reload
}

# start UNIT: enables and starts that timer or path unit, and no service.
start() {
    [ -d /run/systemd/system ] || return 0
    systemctl daemon-reload
    if systemctl is-enabled --quiet "$1" && systemctl is-active --quiet "$1"; then
        # A path unit goes on with what it watched before.
        case $1 in *.path) [ "$changes" = 0 ] || systemctl restart "$1" ;; esac
        say "unchanged: $1 is active"
        return
    fi
    case $1 in
    *.timer) start_timer "$1" ;;
    *) systemctl --quiet enable --now "$1" ;;
    esac
    changed "started: $1"
}

# stop PATH-UNIT: the timers alone start anything.
stop() {
    if systemctl --quiet is-enabled "$1" 2>/dev/null; then
        systemctl --quiet disable "$1"
        changed "disabled: $1"
    fi
    [ ! -d /run/systemd/system ] || systemctl --quiet stop "$1" 2>/dev/null || :
    drop_in "$1" </dev/null
    [ ! -e "/etc/systemd/system/$1" ] || rm -f "/etc/systemd/system/$1"
}

# sum_up UNIT...: what changed, and what starts the services.
sum_up() {
    case $changes in
    0) say 'nothing was changed' ;;
    1) say '1 change was made' ;;
    *) say "$changes changes were made" ;;
    esac
    if [ -d /run/systemd/system ]; then
        systemctl list-timers --all --no-pager 'mailcow-cert-*'
        systemctl list-units --all --no-legend --no-pager 'mailcow-cert-*.path'
    else
        todo 'when systemd runs, which it does not here:' "systemctl enable --now $*"
    fi
    if [ -z "$has_sandbox" ]; then
        say 'this machine refuses the mounts by which systemd locks a service in (a container without nesting):'
        say '    the services run without them, and so see and could write to all of its files, /tmp, /dev and /proc;'
        say '    what stays: few capabilities, no new privileges, the filter of system calls'
        say '    with nesting (on Proxmox: pct set ID --features nesting=1), run this again'
    fi
}

# find_certificates CONFIG NAME...: whether certsync sees one of each; if not, why is said once for all.
find_certificates() {
    file=$1
    shift
    code=0
    "$certsync" find-npm-dir --config "$file" "$@" >/dev/null 2>"$work/why" || code=$?
    grep '^WARNING: ' "$work/why" >&2 || :
    [ "$code" != 0 ] || return 0
    why=$(sed -n 's/^ERROR: //p' "$work/why")
    cure="say where this host sees NPM's certificates"
    case $why in 'no certificate for '*) cure="have NPM make one, or $cure" ;; esac
    todo "$why; $cure, and run this again, which has it watched:" "$file: push.live"
}

# look_at_mailcow ROLE DIR: whether it is there, and leaves the certificate to certsync.
look_at_mailcow() {
    conf=$2/mailcow.conf
    if [ ! -f "$conf" ]; then
        todo "mailcow belongs here; if it is elsewhere, certsync setup $1 has --mailcow DIR:" "$2"
    elif ! grep -Eiq '^SKIP_LETS_ENCRYPT=(y|yes)[[:space:]]*$' "$conf"; then
        compose='docker compose'
        ! grep -Eq '^DOCKER_COMPOSE_VERSION="?standalone' "$conf" || compose=docker-compose
        todo "leave the certificate to certsync: in $conf" SKIP_LETS_ENCRYPT=y \
            "then: cd $2 && $compose up -d"
    fi
}

# tell_unseen CONFIG DIR...: places of that file that are well for a run by hand alone.
tell_unseen() {
    why='the services cannot see these, since they have a /tmp and a /var/tmp of their own'
    cure="name others in $1, and run this again:"
    shift
    todo "$why; $cure" "$@"
}

# tell_missing [LINE...]: what a config file that was kept should say and does not: told last, since the
# script did less than it was called for.
tell_missing() {
    [ -n "$kept" ] && [ $# != 0 ] || return 0
    todo "see that $kept says:" "$@"
    exit 1
}

# need_certsync: this must be root, and certsync where the units look for it.
need_certsync() {
    [ "$(id -u)" = 0 ] || fail 'this is not root' 'run it as root: certsync setup … | sudo sh'
    certsync=/usr/local/bin/certsync
    [ -x "$certsync" ] || certsync=/usr/bin/certsync
    [ -x "$certsync" ] || fail 'certsync is missing' 'copy the binary to /usr/local/bin, where the units look for it'
}

# need PROGRAM PACKAGE: that program must be there; the package is Debian's.
need() { command -v "$1" >/dev/null || fail "$1 is missing" "apt-get install $2"; }
