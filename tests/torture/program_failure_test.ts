// An openssl that dies, is killed or says nothing decides nothing: it is an error, and nothing is touched.

import { equal, match, ok } from "node:assert/strict";
import { authority } from "../kit/authority.ts";
import { type MailHost, mailHost } from "../kit/mail_host.ts";
import { need } from "../kit/programs.ts";
import { run } from "../kit/run.ts";
import { at, ca, NAME } from "./attacked.ts";
import { Faults, inPlaces, sized, tell } from "./size.ts";

const old = await ca.issue({ names: [NAME], notBefore: at(-30) });
const fresh = await ca.issue({ names: [NAME], notBefore: at(-1) });
/** node:crypto does not know this kind of key, so that openssl alone can tell. */
const unknown = await ca.issue({
  names: [NAME],
  notBefore: at(-2),
  keyPem: await run(need("openssl"), [
    ...["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"],
  ]),
});
await using stranger = await authority("Stranger", "ecdsa-p384");
const strangers = await stranger.issue({ names: [NAME] });

const real = need("openssl");
const failures: Record<string, string> = {
  "exits with 127 at once": "exit 127",
  "exits with 126": "exit 126",
  "exits with 1 and no word": "exit 1",
  "exits with 2 and no word": "exit 2",
  "exits with 0 and no word": "exit 0",
  "is killed before it reads": "kill -9 $$",
  "is killed after it has read": "cat >/dev/null; kill -9 $$",
  "is ended after it has read": "cat >/dev/null; kill -TERM $$",
  "reads, and exits with 0": "cat >/dev/null",
  "reads, and exits with 1": "cat >/dev/null; exit 1",
  "has no memory": "cat >/dev/null; echo 'unable to load key: malloc failure' >&2; exit 1",
  "has no library":
    "echo 'openssl: error while loading shared libraries: libssl.so.3' >&2; exit 127",
  "says what it was given": "cat; exit 0",
  "answers, and is killed": `${real} "$@"; kill -9 $$`,
  "answers, and exits with 3": `${real} "$@"; exit 3`,
  "answers, and says of no host name": `${real} "$@" | grep -v Hostname`,
  "answers, and leaves the fingerprint out": `${real} "$@" | grep -vi fingerprint`,
  "dies at verify alone": `[ "$1" = verify ] && exit 127; exec ${real} "$@"`,
  "says nothing at verify": `[ "$1" = verify ] && exit 0; exec ${real} "$@"`,
  "dies at pkey alone": `[ "$1" = pkey ] && kill -9 $$; exec ${real} "$@"`,
};

interface State {
  name: string;
  prepare(host: MailHost): Promise<unknown>;
}

const states: State[] = [
  { name: "a renewal", prepare: (host) => host.stage(fresh) },
  {
    name: "a pair of a kind that openssl alone knows, nothing good staged, an older one kept",
    prepare: async (host) => {
      await host.mailcow.put(unknown);
      await host.stage({ ...strangers, fullchainPem: "x" });
      await keep(host);
    },
  },
  {
    name: "the same, with a stranger's staged",
    prepare: async (host) => {
      await host.mailcow.put(unknown);
      await host.stage(strangers);
      await keep(host);
    },
  },
];

async function keep(host: MailHost): Promise<void> {
  await Deno.mkdir(`${host.state}/previous`, { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(`${host.state}/previous/cert.pem`, old.fullchainPem);
  await Deno.writeTextFile(`${host.state}/previous/key.pem`, old.keyPem, { mode: 0o600 });
}

Deno.test("an openssl that fails decides nothing", async () => {
  const faults = new Faults();
  const cases = Object.entries(failures).flatMap(([what, script]) =>
    states.map((state) => ({ what, script, state }))
  );
  const chosen = sized({ quick: cases.filter((_, index) => index % 7 === 0), full: cases });
  await inPlaces([1, 2, 3], chosen, async ({ what, script, state }) => {
    await faults.try(`${state.name}: openssl ${what}`, async () => {
      await using host = await mailHost({
        trust: ca.rootFile,
        deployed: old,
        up: [],
        endpoints: ["imaps"],
      });
      await state.prepare(host);
      const openssl = `${host.docker.bin}/openssl`;
      await Deno.writeTextFile(openssl, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const { code, json, stderr } = await host.assertUntouched(() => host.deploy(["--json"]));
      equal(code, 1, stderr);
      ok(!/bug in certsync|^ +at /m.test(stderr), stderr);
      const isAsked = state.name === "a renewal" || !/ verify/.test(what);
      if (isAsked) match(json().error, /openssl \w+ could not tell/);
      if (isAsked) match(json().hint, /openssl version/);

      await Deno.remove(openssl);
      if (state.name !== "a renewal") return;
      await host.deploy(["--json"]);
      await host.assertInstalled(fresh);
    });
  });
  tell(`programs: ${chosen.length} runs with an openssl that fails`);
  faults.assertNone();
});
