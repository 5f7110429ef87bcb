#!/bin/sh
# The documentation's look at the wire, endpoint after endpoint: verify.sh NAME ADDRESS:PORT[/STARTTLS]...
set -u
name=$1
shift
for endpoint; do
    case $endpoint in
    */*) set -- -starttls "${endpoint#*/}" ;;
    *) set -- ;;
    esac
    openssl s_client -connect "${endpoint%/*}" -servername "$name" "$@" </dev/null 2>/dev/null |
        openssl x509 -noout -fingerprint -sha256 -enddate -subject
done
