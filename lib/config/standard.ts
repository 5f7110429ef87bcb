// Where things lie unless the operator says otherwise.

import { existsSync } from "node:fs";
import { standard } from "./reader.ts";
import { schema } from "./schema.ts";

export const STANDARD_KNOWN_HOSTS = "/etc/certsync/known_hosts";
export const PUSH_STATE = standard(schema.push.state);
export const DEPLOY_STATE = standard(schema.deploy.state);
export const MAILCOW = standard(schema.deploy.mailcow);
export const STAGING = standard(schema.deploy.staging);
/** Where push and deploy are on one machine. */
export const LOCAL_STAGING = "/var/lib/mailcow-cert-incoming";

/** Where this host may see NPM's certificates. */
export const standardLiveDirectories = ["/etc/nginx/letsencrypt/live", "/etc/letsencrypt/live"];

/** Our own file before ssh's, if it is there. */
export function standardKnownHosts(): readonly string[] | null {
  return existsSync(STANDARD_KNOWN_HOSTS)
    ? [STANDARD_KNOWN_HOSTS, "~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
    : null;
}
