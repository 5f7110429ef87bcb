#!/bin/sh
# The documentation's loop over live/npm-*: find.sh LIVE
set -u
for d in "$1"/npm-*; do
    echo "=== $d ==="
    openssl x509 -noout -subject -ext subjectAltName -in "$d/cert.pem" 2>/dev/null
done
