// What push reads: any plain form is written anew before it is sent, and what deploy would refuse stays here.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { chmod, symlink } from "node:fs/promises";
import { need } from "../kit/programs.ts";
import { run } from "../kit/run.ts";
import { assertArrived, ca, pushSide, second } from "./push_side.ts";
import { Faults, tell } from "./size.ts";

Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());

const { certPem, chainPem, fullchainPem, keyPem } = second;
const parameters = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n";
const sec1 = await run(need("openssl"), ["ec"], { stdin: keyPem });

Deno.test("push sends what it judged, written anew, and refuses what deploy would refuse", async () => {
  await using side = await pushSide();
  await side.begin();
  const dir = `${side.root}/plain`;
  await Deno.mkdir(dir, { mode: 0o700 });
  await side.configure({ source: dir });
  const put = async (chain: string, key: string) => {
    await Deno.writeTextFile(`${dir}/fullchain.pem`, chain);
    await Deno.writeTextFile(`${dir}/privkey.pem`, key, { mode: 0o600 });
  };

  const plain: Record<string, [chain: string, key: string, arrives: string]> = {
    "Let's Encrypt's blank lines": [`${certPem}\n${chainPem}`, keyPem, keyPem],
    "CRLF": [fullchainPem.replaceAll("\n", "\r\n"), keyPem.replaceAll("\n", "\r\n"), keyPem],
    "the parameters of a curve": [fullchainPem, parameters + sec1, sec1],
  };
  for (const [what, [chain, key, arrives]] of Object.entries(plain)) {
    await put(chain, key);
    const { code, stderr } = await side.push(["--force"]);
    equal(code, 0, `${what}: ${stderr}`);
    await assertArrived(side.incoming, { ...second, keyPem: arrives });
  }

  const faults = new Faults();
  const names = (byteCount: number) =>
    `-----BEGIN CERTIFICATE-----\n${
      "A".repeat(byteCount).replace(/.{64}/g, "$&\n")
    }\n-----END CERTIFICATE-----\n`;
  const refused: Record<string, [chain: string, key: string, says: RegExp]> = {
    "a lone CR": [`${certPem.replaceAll("\n", "\r")}\n${fullchainPem}`, keyPem, /carriage return/],
    "a blank line in a block": [fullchainPem.replace("-----\n", "-----\n\n"), keyPem, /blank line/],
    "a BOM": [`\ufeff${fullchainPem}`, keyPem, /byte order mark/],
    "text": [`x\n${fullchainPem}`, keyPem, /other text/],
    "a key with text": [fullchainPem, `Bag Attributes\n${keyPem}`, /anything but one private key/],
    "1 MiB": [names(2 ** 20 - 40_000), keyPem, /is larger than 64 KiB/],
    "64 KiB": [fullchainPem + names(63_000).slice(0, 2 ** 16 - fullchainPem.length), keyPem, /./],
    "a key of 64 KiB": [fullchainPem, keyPem + "\n".repeat(2 ** 16), /is larger than 64 KiB/],
  };
  for (const [what, [chain, key, says]] of Object.entries(refused)) {
    await faults.try(what, async () => {
      await put(chain, key);
      const { code, json, stderr, waits } = await side.push(["--force"]);
      equal(code, 1);
      match(json().error, says);
      ok(!/bug in certsync|^ +at /m.test(stderr), stderr);
      // What may be a renewal is waited for, and these are none.
      if (/64 KiB$/.test(says.source)) deepEqual(waits, []);
    });
  }
  await assertArrived(side.incoming, { ...second, keyPem: sec1 });
  tell(
    `sources: ${Object.keys(plain).length} forms sent anew, ${Object.keys(refused).length} refused`,
  );
  faults.assertNone();
});

Deno.test("a state directory of push that others can write to is told, and no link in it is followed", async () => {
  await using side = await pushSide();
  await side.begin();
  await Deno.mkdir(side.state);
  await chmod(side.state, 0o777);
  const warned = await side.push();
  match(warned.stderr, /^WARNING: others can write to ".*\/state" \(mode 0777\)/m);
  await run("chmod", ["go-w", side.state]);
  const mended = await side.push();
  ok(!/WARNING: others/.test(mended.stderr), mended.stderr);

  await Deno.rename(`${side.state}/last_fp`, `${side.root}/elsewhere`);
  await symlink(`${side.root}/elsewhere`, `${side.state}/last_fp`);
  const refused = await side.push();
  equal(refused.code, 1);
  match(refused.stderr, /^ERROR: something that certsync did not make .*\/last_fp"\nhint: see/m);
});
