// A mail host whose staging somebody else fills, and what must hold whatever he puts there.

import { equal, match, ok } from "node:assert/strict";
import { authority, type Leaf } from "../kit/authority.ts";
import { type CertsyncResult, startCertsync } from "../kit/certsync.ts";
import { allLoaded, type MailHost, mailHost } from "../kit/mail_host.ts";
import { assertSame, snapshot } from "../kit/snapshot.ts";
import { Faults, inPlaces, sized, some, tell } from "./size.ts";

export const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const MAX_KIB = 100 * 1024;
/** Of processor time, which nothing else on the machine adds to. */
const MAX_CPU_MS = 3_000;
/** While half of a push may be on its way. */
const WAIT_MS = 15_000;

export const [ca, foreign] = await Promise.all([
  authority("Torture", "ecdsa-p384"),
  authority("Foreign", "ecdsa-p384"),
]);
Deno.test.afterAll(async () => {
  await Promise.all([ca, foreign].map((one) => one[Symbol.asyncDispose]()));
});
export const at = (days: number) => new Date(Date.now() + days * DAY_MS);

export const deployed = await ca.issue({ names: [NAME], notBefore: at(-20) });
export const good = await ca.issue({ names: [NAME], notBefore: at(-1) });
export const other = await ca.issue({ names: [NAME], notBefore: at(-2) });

export interface Staging {
  host: MailHost;
  chain: string;
  key: string;
}

export interface Attack {
  name: string;
  set(staging: Staging): Promise<unknown>;
  /** What deploy says, at least. */
  says: RegExp;
}

export const write = (path: string, text: string | Uint8Array) =>
  typeof text === "string" ? Deno.writeTextFile(path, text) : Deno.writeFile(path, text);
export const block = (label: string, text: string) =>
  `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`;
export const stage = (leaf: Pick<Leaf, "fullchainPem" | "keyPem">): Attack["set"] => ({ host }) =>
  host.stage(leaf);
export function derOf(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(pem.replaceAll(/-----.*-----|\s/g, ""));
}

/** What deploy might read through a link, and must not tell. */
export const SHADOW =
  "root:$y$j9T$KITKITKITKITKITKITKIT$tortureSecretLine0123456789:20000:0:99999:7:::\n";

/** None makes deploy install, read or print what it should not, or take its time or memory. */
export async function assertRefused(
  what: string,
  attacks: readonly Attack[],
  quick: number,
): Promise<void> {
  const secrets = [
    ...(await Deno.readTextFile("/etc/shadow").catch(() => "")).split("\n"),
    SHADOW.trim(),
    ...[good, other, deployed].flatMap(({ keyPem }) => keyPem.split("\n")),
  ].filter((line) => line.length > 20 && !line.startsWith("-----"));
  const faults = new Faults();
  let [largest, longest] = [0, 0];
  const chosen = some(attacks, sized({ quick, full: Infinity }));
  await inPlaces([1, 2, 3], chosen, async ({ name, says, set }) => {
    await faults.try(name, async () => {
      await using host = await hostAttacked();
      await set({
        host,
        chain: `${host.staging}/fullchain.pem`,
        key: `${host.staging}/privkey.pem`,
      });
      const before = await snapshot(host.mailcow.root);
      const { result, peakKib, cpuMs } = await watched(host);
      const said = result.stdout + result.stderr;
      equal(result.code, 1, said);
      equal(result.json().outcome, "refused", said);
      match(result.json().error, says);
      ok(!/bug in certsync|^ +at /m.test(said), said);
      // deno-lint-ignore no-control-regex -- what a terminal would obey
      ok(!/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/.test(said), "a control character is printed");
      const lines = result.stderr.split("\n").filter((line) => line !== "");
      ok(lines.length <= 2, result.stderr);
      ok(!secrets.some((line) => said.includes(line)), "a secret is printed");
      ok(peakKib < MAX_KIB, `${peakKib} KiB`);
      ok(cpuMs < MAX_CPU_MS, `${cpuMs} ms`);
      [largest, longest] = [Math.max(largest, peakKib), Math.max(longest, cpuMs)];
      assertSame(before, await snapshot(host.mailcow.root));
      equal(host.docker.calls.length, 0);
    });
  });
  tell(
    `${what}: ${chosen.length} of ${attacks.length} attacks, at most ${
      Math.round(largest / 1024)
    } MiB and ${longest} ms of a processor`,
  );
  faults.assertNone();
}

export async function hostAttacked(): Promise<MailHost> {
  const options = {
    trust: ca.rootFile,
    deployed,
    staged: good,
    up: [],
    endpoints: ["imaps" as const],
  };
  const host = await mailHost(options);
  // certsync installed it: what anybody else put there may be replaced by an older one.
  await Deno.mkdir(host.state, { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(`${host.state}/loaded`, `${allLoaded(deployed).join("\n")}\n`, {
    mode: 0o600,
  });
  return host;
}

export async function watched(host: MailHost) {
  const started = startCertsync(["deploy", "--config", host.config, "--json"], {
    path: host.docker.bin,
    timeoutMs: WAIT_MS + 5 * MAX_CPU_MS,
  });
  let [peakKib, cpuMs] = [0, 0];
  const timer = setInterval(() => {
    peakKib = Math.max(peakKib, peakOf(started.pid));
    cpuMs = Math.max(cpuMs, cpuMsOf(started.pid));
  }, 2);
  const result: CertsyncResult = await started.result.finally(() => clearInterval(timer));
  return { result, peakKib, cpuMs };
}

/** The most that it ever had in memory. */
function peakOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+)/m.exec(seen(pid, "status"))?.[1] ?? 0);
}

/** Its own and that of the programs that it has waited for. proc_pid_stat(5), fields 14 to 17 */
function cpuMsOf(pid: number): number {
  const ticks = seen(pid, "stat").replace(/^.*\) /s, "").split(" ").slice(11, 15).map(Number);
  return ticks.reduce((sum, count) => sum + count, 0) * 10;
}

function seen(pid: number, file: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/${file}`);
  } catch {
    return ""; // it has ended
  }
}
