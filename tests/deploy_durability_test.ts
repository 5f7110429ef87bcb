// What deploy writes survives a power cut at any moment, and nobody else could ever read it.

import { deepEqual, equal, ok } from "node:assert/strict";
import { dirname } from "node:path";
import { authority } from "./kit/authority.ts";
import { type MailHost, mailHost } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [old, fresh, newer] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: daysAgo(60) }),
  ca.issue({ names: [NAME], notBefore: daysAgo(1) }),
  ca.issue({ names: [NAME], notBefore: daysAgo(0.5) }),
]);

/** One call that succeeded, on a file below the root. */
interface Call {
  name: "open" | "mkdir" | "rename" | "unlink" | "sync";
  /** Of a rename, the new one. */
  path: string;
  from: string;
  /** Of a new file; null where it was there. */
  mode: number | null;
}

/** What the main thread, which does all of this, does to the files of the host. */
async function trace(host: MailHost): Promise<Call[]> {
  const log = `${host.root}/strace.log`;
  const names = ["?open", "openat", "?mkdir", "mkdirat", "?rename", "renameat", "?renameat2"];
  const calls = [...names, "?unlink", "unlinkat", "?rmdir", "fsync", "fdatasync"].join();
  const under = [need("strace"), "-qq", "-y", "-o", log, "-e", `trace=${calls}`];
  const result = await host.deploy([], { under });
  equal(result.code, 0, result.stderr);
  const lines = (await Deno.readTextFile(log)).split("\n");
  return lines.flatMap(parseCall).filter(({ path }) =>
    path.startsWith(`${host.root}/`) || path === host.root
  );
}

function parseCall(line: string): Call[] {
  const [, word = "", args = ""] = /^(\w+)\((.*)\) += \d+(<.*>)?$/.exec(line) ?? [];
  const paths = Array.from(args.matchAll(/"([^"]*)"/g), ([, path = ""]) => path);
  const [from = ""] = paths;
  const path = paths.at(-1) ?? /^\d+<(.*)>$/.exec(args)?.[1] ?? "";
  const name = (["open", "mkdir", "rename", "unlink", "sync"] as const)
    .find((name) => word.includes(name));
  if (name === undefined) return [];
  const mode = args.includes("O_CREAT") ? parseInt(args.split(", ").at(-1) ?? "", 8) : null;
  return [{ name, path, from, mode }];
}

const isTemporary = (path: string) => /\/\.certsync-|\/scratch(\/|$)/.test(path);

Deno.test("deploy writes nothing that a power cut could take back or tear, nor others read", async () => {
  await using host = await mailHost({
    trust: ca.rootFile,
    deployed: old,
    endpoints: ["https"],
    up: ["nginx"], // it is not about the services, but one is to be remembered
  });
  await host.stage(fresh);
  const first = await trace(host); // makes its directories
  await host.stage(newer);
  const second = await trace(host); // replaces what is there
  for (const calls of [first, second]) {
    ok(calls.filter(({ name }) => name === "rename").length >= 5, "it is all in view");
    assertPrivate(calls);
    assertWhole(calls);
    assertLasting(calls, host.mailcow.ssl);
  }
  const isDone = (done: Call["name"], path: string) => (call: Call) =>
    call.name === done && call.path === path;
  const told = second.findIndex(isDone("unlink", `${host.state}/loaded`));
  const installed = second.findIndex(isDone("rename", host.mailcow.keyFile));
  ok(0 <= told && told < installed, "what is loaded is forgotten before it is replaced");
});

function assertPrivate(calls: Call[]): void {
  const open = calls.filter(({ mode }) => mode !== null && (mode & 0o077) !== 0);
  deepEqual(open, [], "others could read it before it got its mode");
  ok(calls.some(({ path, mode }) => path.endsWith("/.certsync-key.pem") && mode !== null));
}

/** A file is on the disk before it takes its name. */
function assertWhole(calls: Call[]): void {
  for (const [index, { name, from }] of calls.entries()) {
    if (name !== "rename") continue;
    const before = calls.slice(0, index).filter(({ path }) => path === from);
    equal(before.at(-1)?.name, "sync", `${from} is not synced`);
  }
}

/** A change of a directory is on the disk before the next one; those of a pair are back to back. */
function assertLasting(calls: Call[], ssl: string): void {
  const pending = new Set<string>();
  for (const { name, path } of calls) {
    if (name === "sync") pending.delete(path);
    if (name === "open" || name === "sync" || isTemporary(path)) continue;
    const parent = dirname(path);
    if (parent !== ssl) deepEqual([...pending], [], `not synced before ${name} ${path}`);
    pending.add(parent);
  }
  deepEqual([...pending], [], "not synced at the end");
}
