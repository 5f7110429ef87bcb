// Where things lie unless the operator says otherwise.

import { existsSync } from "node:fs";

export const STANDARD_KNOWN_HOSTS = "/etc/certsync/known_hosts";
export const PUSH_STATE = "/var/lib/mailcow-cert-push";
export const DEPLOY_STATE = "/var/lib/mailcow-cert-deploy";
export const MAILCOW = "/opt/mailcow-dockerized";
export const STAGING = "/home/certsync/incoming";

/** Our own file before ssh's, if it is there. */
export function standardKnownHosts(): readonly string[] | null {
  return existsSync(STANDARD_KNOWN_HOSTS)
    ? [STANDARD_KNOWN_HOSTS, "~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
    : null;
}
