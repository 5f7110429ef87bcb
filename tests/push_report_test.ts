// What push goes by and reports of each name and target: files at the most, no process.

import { deepEqual, equal, match } from "node:assert/strict";
import { pushedKey } from "../lib/chain/last_fp.ts";
import { Failure } from "../lib/failure.ts";
import type { Destination, PushConfig } from "../lib/config/push_config.ts";
import { formerRecord } from "../lib/push/former.ts";
import { noteGone } from "../lib/push/gone.ts";
import { replacedAt, targetsLacking } from "../lib/push/lacking.ts";
import {
  type CertificateReport,
  changesOf,
  describePush,
  emptyOf,
  ending,
  reportOf,
  stopped,
  summarize,
} from "../lib/push/report.ts";
import type { Sending } from "../lib/push/send.ts";
import { parsePushTarget } from "../lib/values/push_target.ts";
import { authority, tlsa } from "./kit/authority.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { textOf } from "./kit/text_of.ts";
import { fresh, old } from "./deploy_facts.ts";

const NAME = "mail.example.org", SHOP = "shop.example.com";
const domain = { name: NAME, further: null };
const shop = { name: SHOP, further: SHOP };
const target = (text: string) => parsePushTarget(text, "x") as Destination;
const [one, two] = [target("u@one:/in/"), target("u@two:/in/")];
const { fingerprint } = fresh.leaf;

Deno.test("a target lacks what another leaf was pushed to last, what is forced, and what lies there no more", async () => {
  await using dir = await tempDir();
  const here = target(`${dir.path}/`);
  const to = [one, two, here];
  const pushed = new Map(to.map((target) => [pushedKey(target, null), fingerprint]));
  const lacking = (name: typeof domain | typeof shop, known = pushed, force = false) =>
    targetsLacking(name, fresh, known, { to, force }).map(({ text }) => text);
  deepEqual(lacking(domain), [here.text]);
  for (const file of ["fullchain.pem", "privkey.pem"]) {
    deepEqual(lacking(domain), [here.text], file);
    await Deno.writeTextFile(`${dir.path}/${file}`, "");
  }
  deepEqual(lacking(domain), []);
  deepEqual(lacking(domain, pushed, true).length, 3);
  deepEqual(lacking(shop).length, 3);
  const other = new Map(pushed).set(pushedKey(two, null), old.leaf.fingerprint);
  deepEqual(lacking(domain, other), [two.text]);
  equal(replacedAt(domain, [two], other), old.leaf.fingerprint);
  equal(replacedAt(domain, to, other), null); // they had different ones
  equal(replacedAt(shop, to, other), null);
});

Deno.test("what is gone is a warning for a day, of each name for itself, and is forgotten once it is back", async () => {
  await using dir = await tempDir();
  const failure = new Failure("no certificate");
  const start = Date.parse("2026-06-01T00:00:00Z");
  const note = (
    hours: number,
    names: (typeof domain | typeof shop)[],
    { present = [], dryRun = false }: { present?: typeof names; dryRun?: boolean } = {},
  ) => {
    const gone = names.map((name) => ({ name, failure }));
    const at = new Date(start + hours * 3_600_000);
    const ends = noteGone(gone, present, { state: dir.path, dryRun }, at);
    return names.map(({ name }) => ends.get(name) === failure ? "error" : ends.get(name));
  };
  const since = (time: string) =>
    `no certificate: gone since ${time}, which is an error after a day`;
  deepEqual(note(0, [domain], { dryRun: true }), [since("2026-06-01T00:00:00Z")]);
  equal(await textOf(`${dir.path}/gone`), "");
  deepEqual(note(0, [domain]), [since("2026-06-01T00:00:00Z")]);
  deepEqual(note(12, [domain, shop]), [
    ...[since("2026-06-01T00:00:00Z"), since("2026-06-01T12:00:00Z")],
  ]);
  deepEqual(note(24, [domain, shop]), ["error", since("2026-06-01T12:00:00Z")]);
  deepEqual(note(35, [shop], { present: [domain] }), [since("2026-06-01T12:00:00Z")]);
  equal(await textOf(`${dir.path}/gone`), `2026-06-01T12:00:00Z\t${SHOP}\n`);
  // A clock that was set back makes it begin anew, and last no longer.
  deepEqual(note(6, [shop]), [since("2026-06-01T06:00:00Z")]);
  deepEqual(note(36, [shop, domain]), ["error", since("2026-06-02T12:00:00Z")]);
});

Deno.test("the key of what a target has is looked for among the earlier ones of the lineage", async () => {
  await using ca = await authority();
  await using dir = await tempDir();
  const [former, next, other] = await Promise.all([1, 2, 3].map(() => ca.issue({ names: [NAME] })));
  if (!former || !next || !other) throw new Error("three leaves");
  const live = `${dir.path}/live/npm-5`;
  await Deno.mkdir(live, { recursive: true });
  await Deno.mkdir(`${dir.path}/archive/npm-5`, { recursive: true });
  const archived = (number: number) => `${dir.path}/archive/npm-5/fullchain${number}.pem`;
  await Deno.writeTextFile(archived(1), former.fullchainPem);
  await Deno.writeTextFile(archived(2), "damaged");
  await Deno.writeTextFile(archived(3), next.fullchainPem);
  await Deno.symlink(archived(3), `${live}/fullchain.pem`);
  equal(formerRecord(live, former.fingerprint), await tlsa(former));
  equal(formerRecord(live, other.fingerprint), null);
  equal(formerRecord(live, null), null);
});

const would = (more: Partial<CertificateReport> = {}): CertificateReport => ({
  ...{ ...emptyOf(NAME), outcome: "would-push", fingerprint, notAfter: "2026-08-01T00:00:00Z" },
  ...{ tlsa: "3 1 1 new", replaces: old.leaf.fingerprint, targets: [], ...more },
});

Deno.test("the record of a new key is told before it is pushed, and of no key that is there already", () => {
  const records = (report: CertificateReport) =>
    describePush(reportOf([report], [])).filter((line) => line.startsWith("TLSA "));
  match(
    records(would()).join(),
    /^TLSA 3 1 1 new is its key: where _25\._tcp\.mail\.example\.org has TLSA records, add it .* two TTLs/,
  );
  equal(records(would({ replacesTlsa: "3 1 1 old" })).length, 1);
  equal(records(would({ replacesTlsa: "3 1 1 new" })).length, 0);
  equal(records(would({ replaces: fingerprint })).length, 0);
  equal(records(would({ outcome: "pushed" })).length, 0);
});

Deno.test("of each target it is told whether it has it, and what is not there brings the run to a failure", () => {
  const config = { to: [one, two], commands: { again: "certsync push" } } as unknown as PushConfig;
  const report = would({ outcome: "failed" });
  const sending = (target: Destination, failure: Sending["failure"]): Sending => (
    { name: domain, target, failure }
  );
  const sent = summarize(report, [sending(two, null)], config);
  deepEqual(sent.targets.map(({ outcome }) => outcome), ["unchanged", "pushed"]);
  deepEqual([sent.outcome, sent.error, ending(reportOf([sent], []))], [
    "pushed",
    undefined,
    "done",
  ]);
  const failure = { error: "it is full", hint: "make room" };
  const half = summarize(report, [sending(one, failure), sending(two, null)], config);
  deepEqual(half.targets.map(({ outcome }) => outcome), ["failed", "pushed"]);
  deepEqual([half.outcome, half.error, half.hint], [
    ...["failed", "u@one:/in/: it is full", "make room"],
  ]);
  // Where the operator ends it, what arrived stays told.
  const ended = stopped(half, [one], new Failure("ended by SIGTERM"), config);
  deepEqual(ended.targets.map(({ outcome }) => outcome), ["failed", "pushed"]);
  equal(ended.error, "ended by SIGTERM: not pushed to u@one:/in/");
  equal(ending(reportOf([would({ outcome: "unchanged" }), half], [])), "failed");
  equal(ending(reportOf([would({ outcome: "unchanged" })], [])), "idle");
});

Deno.test("the history has what became of each name, and what is wrong with all once", () => {
  const names = (report: Parameters<typeof changesOf>[0]) =>
    changesOf(report).map(({ name, outcome, error }) => [name, outcome, error]);
  const pushed = would({ outcome: "pushed" });
  const refused = { ...would({ name: SHOP, outcome: "refused" }), error: "no" };
  deepEqual(names(reportOf([pushed, refused], [])), [
    [NAME, "pushed", undefined],
    [SHOP, "refused", "no"],
  ]);
  deepEqual(names(reportOf([would()], [])), []);
  const all = { ...reportOf([emptyOf(NAME), emptyOf(SHOP)], []), error: "the lock is taken" };
  deepEqual(names(all), [[NAME, "failed", "the lock is taken"]]);
});
