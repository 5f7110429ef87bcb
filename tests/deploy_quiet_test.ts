// When a run need look at no further name: as long as all that it was decided by is the same. Files alone.

import { deepEqual, equal } from "node:assert/strict";
import type { DeployConfig } from "../lib/config/deploy_config.ts";
import { begin } from "../lib/deploy/beginning.ts";
import { type CertificateReport, emptyCertificate } from "../lib/deploy/certificates.ts";
import { writeLoaded, writeOwed, writeRejected, writeSuspects } from "../lib/deploy/memory.ts";
import { quietNames, rememberQuiet } from "../lib/deploy/quiet.ts";
import { authority, type Leaf } from "./kit/authority.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org", SHOP = "shop.example.com", CLUB = "club.example.net";
const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [top, shop, other] = await Promise.all([
  ca.issue({ names: [NAME] }),
  ca.issue({ names: [SHOP] }),
  ca.issue({ names: [SHOP] }),
]);
const now = new Date();
const TIME = "2026-06-01T00:00:00Z";

async function stage(directory: string, { fullchainPem, keyPem }: Leaf): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(`${directory}/fullchain.pem`, fullchainPem);
  await Deno.writeTextFile(`${directory}/privkey.pem`, keyPem, { mode: 0o600 });
}

async function scene() {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(await tempDir());
  const mailcow = await mailcowTree(`${dir.path}/mailcow`, { leaf: top });
  const [state, staging] = [`${dir.path}/state`, `${dir.path}/staging`];
  await Deno.mkdir(state, { mode: 0o700 });
  await stage(staging, top);
  await stage(`${staging}/${SHOP}`, shop);
  const own = await mailcow.putSni(SHOP, shop, [SHOP]);
  // Of the rest nothing is looked at.
  const config = {
    ...{ mailcow: mailcow.root, state, staging, also: [SHOP], only: [], domain: null },
    ...{ trust: { kind: "system" }, force: false, rollback: false, dryRun: false },
  } as unknown as DeployConfig;
  const look = (at: DeployConfig = config, when = now) => quietNames(at, begin(at, when));
  const remember = (
    certificates: CertificateReport[] = [{ ...emptyCertificate(SHOP), notAfter: END }],
  ) => rememberQuiet(config, begin(config, now), certificates);
  const owned = stack.move();
  return {
    ...{ mailcow, own, state, staging, config, look, remember },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
const END = "2099-01-01T00:00:00Z";
const later = (config: DeployConfig, more: Partial<DeployConfig>) => ({ ...config, ...more });

Deno.test("nothing is looked at again while all is the same to the byte", async () => {
  await using all = await scene();
  equal(all.look(), null); // nobody has looked yet
  all.remember();
  for (let run = 0; run < 2; run++) {
    deepEqual(all.look()?.map(({ name, outcome }) => [name, outcome]), [[SHOP, "unchanged"]]);
  }
  const others: [what: string, DeployConfig, when?: Date][] = [
    ["it is forced", later(all.config, { force: true })],
    ["it goes back", later(all.config, { rollback: true })],
    ["another name", later(all.config, { also: [SHOP, CLUB] })],
    ["no name", later(all.config, { also: [] })],
    ["other trust", later(all.config, { trust: { kind: "none" } })],
    ["the first one has ended", all.config, new Date("2099-01-02T00:00:00Z")],
  ];
  for (const [what, config, when] of others) equal(all.look(config, when), null, what);
  equal(all.look() === null, false);
});

Deno.test("whatever a name is decided by has it looked at again", async (t) => {
  const changes: Record<string, (all: Awaited<ReturnType<typeof scene>>) => unknown> = {
    "another pair is staged": ({ staging }) => stage(`${staging}/${SHOP}`, other),
    "another key alone": ({ staging }) =>
      Deno.writeTextFile(`${staging}/${SHOP}/privkey.pem`, other.keyPem),
    "what is staged is gone": ({ staging }) =>
      Deno.remove(`${staging}/${SHOP}`, { recursive: true }),
    "another pair lies there": ({ mailcow }) => mailcow.putSni(SHOP, other, [SHOP]),
    "it may be read by others": ({ own }) => Deno.chmod(`${own}/key.pem`, 0o644),
    "another owner": ({ own }) => Deno.chown(`${own}/key.pem`, 65533, 65533),
    "the top level": ({ mailcow }) => mailcow.put(other),
    "its domains": ({ own }) => Deno.writeTextFile(`${own}/domains`, `${SHOP} ${CLUB}\n`),
    "another directory": ({ mailcow }) => mailcow.putSni("x", other, ["x.example"]),
    "the mail hostname": ({ mailcow }) => mailcow.configure({ MAILCOW_HOSTNAME: "mx.example.org" }),
    "what is loaded": ({ state }) =>
      writeLoaded(state, { loaded: new Map([["nginx-mailcow", top.fingerprint]]) }),
    "what is rejected": ({ state }) => writeRejected(state, new Map([[shop.fingerprint, TIME]])),
    "what is suspected": ({ state }) => writeSuspects(state, new Set([shop.fingerprint])),
    "a restart is owed": ({ state }) =>
      writeOwed(state, new Map([["nginx-mailcow", new Set([SHOP])]])),
    "what it remembers is cut off": ({ state }) => Deno.truncate(`${state}/quiet`, 20),
  };
  for (const [what, change] of Object.entries(changes)) {
    await t.step(what, async () => {
      await using all = await scene();
      all.remember();
      equal(all.look() === null, false);
      await change(all);
      equal(all.look(), null);
    });
  }
});

Deno.test("it is not remembered while a restart is owed, or where an end is not known", async () => {
  await using all = await scene();
  all.remember([emptyCertificate(SHOP)]);
  equal(all.look(), null);
  writeOwed(all.state, new Map([["nginx-mailcow", new Set([SHOP])]]));
  all.remember();
  writeOwed(all.state, new Map());
  equal(all.look(), null);
});
