#!/bin/sh
# The documentation's deploy-staged-cert.sh: deploy.sh STAGING MAILCOW DOMAIN
set -eu
staging=$1 mailcow=$2 domain=$3
ssl=$mailcow/data/assets/ssl

[ -f "$staging/fullchain.pem" ] || { echo "ERROR: no staged cert" >&2; exit 1; }
of_cert=$(openssl x509 -in "$staging/fullchain.pem" -noout -pubkey | openssl md5)
of_key=$(openssl pkey -in "$staging/privkey.pem" -pubout | openssl md5)
[ "$of_cert" = "$of_key" ] || { echo "ERROR: key does not match" >&2; exit 1; }
openssl x509 -in "$staging/fullchain.pem" -noout -checkhost "$domain" |
    grep -q 'does match' || { echo "ERROR: does not cover $domain" >&2; exit 1; }

staged=$(openssl x509 -noout -fingerprint -sha256 -in "$staging/fullchain.pem")
deployed=$(openssl x509 -noout -fingerprint -sha256 -in "$ssl/cert.pem")
if [ "$staged" = "$deployed" ]; then
    echo "nothing to do"
    exit 0
fi
install -m 0644 "$staging/fullchain.pem" "$ssl/cert.pem"
install -m 0600 "$staging/privkey.pem" "$ssl/key.pem"

cd "$mailcow"
docker compose exec -T postfix-mailcow postfix reload
docker compose exec -T dovecot-mailcow dovecot reload
docker compose exec -T nginx-mailcow nginx -s reload
