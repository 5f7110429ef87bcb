#!/bin/sh
# The documentation's push-mailcow-cert.sh: push.sh LINEAGE STATE TARGET [SSH-OPTION...]
set -eu
source=$1 state=$2 target=$3
shift 3

fingerprint=$(openssl x509 -noout -fingerprint -sha256 -in "$source/fullchain.pem")
if [ "$fingerprint" = "$(cat "$state/last_fp" 2>/dev/null)" ]; then
    echo "nothing to do"
    exit 0
fi
rsync -azL -e "ssh $*" "$source/fullchain.pem" "$source/privkey.pem" "$target"
printf '%s\n' "$fingerprint" >"$state/last_fp"
