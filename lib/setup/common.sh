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

# unit NAME: standard input becomes that unit, unless a package brought the very same. One of the
# same name that is in /etc, from an older chain, gives way.
unit() {
    own=/etc/systemd/system/$1 packaged=/usr/lib/systemd/system/$1
    cat >"$work/unit"
    if ! cmp -s "$work/unit" "$packaged"; then
        put 644 "$own" <"$work/unit"
    elif [ -e "$own" ] || [ -L "$own" ]; then
        rm -f "$own"
        changed "removed: $own, which hid $packaged"
    else
        say "unchanged: $packaged"
    fi
    for file in "$own.d"/*.conf; do
        [ "$file" = "$own.d/certsync-setup.conf" ] || [ ! -e "$file" ] ||
            say "WARNING: $file changes this unit; is it still wanted?"
    done
}

# drop_in UNIT: standard input becomes what changes that unit on this host; empty means nothing.
drop_in() {
    cat >"$work/drop-in"
    dir=/etc/systemd/system/$1.d
    if [ -s "$work/drop-in" ]; then
        directory 755 root:root "$dir"
        put 644 "$dir/certsync-setup.conf" <"$work/drop-in"
    elif [ -e "$dir/certsync-setup.conf" ]; then
        rm "$dir/certsync-setup.conf"
        changed "removed: $dir/certsync-setup.conf"
    fi
}

# start TIMER: enables and starts it.
start() {
    [ -d /run/systemd/system ] || return 0
    systemctl daemon-reload
    if systemctl is-enabled --quiet "$1" && systemctl is-active --quiet "$1"; then
        say "unchanged: $1 is active"
    else
        systemctl --quiet enable --now "$1"
        changed "started: $1"
    fi
}

# sum_up TIMER: what changed, and the timers.
sum_up() {
    case $changes in
    0) say 'nothing was changed' ;;
    1) say '1 change was made' ;;
    *) say "$changes changes were made" ;;
    esac
    if [ -d /run/systemd/system ]; then
        systemctl list-timers --all --no-pager 'mailcow-cert-*'
    else
        todo 'when systemd runs, which it does not here:' "systemctl enable --now $1"
    fi
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
