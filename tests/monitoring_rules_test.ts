// The rules that ship for Wazuh and Prometheus match what they are for, and nothing else.

import { equal, notEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { need } from "./kit/programs.ts";
import { tryRun } from "./kit/run.ts";

const folder = fileURLToPath(new URL("../systemd", import.meta.url));

interface WazuhRule {
  id: string;
  program: RegExp;
  message: RegExp | undefined;
}

/** The few elements that our rules consist of. */
function readWazuhRules(xml: string): WazuhRule[] {
  const rules = Array.from(
    xml.matchAll(/<rule id="(\d+)"[^>]*>(.*?)<\/rule>/gs),
    ([, id, body]) => ({
      id: id ?? "",
      program: /<program_name>(.*?)<\/program_name>/.exec(body ?? "")?.[1],
      parent: /<if_sid>(\d+)<\/if_sid>/.exec(body ?? "")?.[1],
      match: /<match type="pcre2">(.*?)<\/match>/.exec(body ?? "")?.[1],
    }),
  );
  return rules.map(({ id, program, parent, match }) => ({
    id,
    program: new RegExp(program ?? rules.find((rule) => rule.id === parent)?.program ?? "^$"),
    message: match === undefined ? undefined : new RegExp(match),
  }));
}

Deno.test("each Wazuh rule matches exactly the sample lines that it is for", async () => {
  const rules = readWazuhRules(await Deno.readTextFile(`${folder}/wazuh-rules.xml`));
  const alerting = rules.filter(({ message }) => message !== undefined);
  equal(alerting.length, 3);

  const samples = (await Deno.readTextFile(`${folder}/wazuh-samples.log`)).trim().split("\n").slice(
    1,
  );
  const seen = new Set<string>();
  for (const sample of samples) {
    const [, expected = "", program = "", message = ""] =
      /^(\S+) \w{3} \d\d [\d:]{8} \S+ ([^[\s]+)\[\d+\]: (.*)$/.exec(sample) ?? [];
    notEqual(expected, "", sample);
    const matching = alerting
      .filter((rule) => rule.program.test(program) && rule.message?.test(message))
      .map(({ id }) => id);
    equal(matching.join(), expected === "none" ? "" : expected, sample);
    seen.add(expected);
  }
  equal([...seen].sort().join(), [...alerting.map(({ id }) => id), "none"].sort().join());
});

Deno.test("the Wazuh rule file is well-formed", async () => {
  const xml = (await Deno.readTextFile(`${folder}/wazuh-rules.xml`)).replace(/<!--.*?-->/gs, "");
  const open: string[] = [];
  for (const [, closing, name = ""] of xml.matchAll(/<(\/?)([a-z_]+)[^>]*>/g)) {
    if (closing) equal(open.pop(), name);
    else open.push(name);
  }
  equal(open.join(), "");
});

Deno.test("promtool finds nothing wrong with the alert rules", async () => {
  const { code, stdout, stderr } = await tryRun(need("promtool"), [
    "check",
    "rules",
    `${folder}/prometheus-rules.yml`,
  ]);
  equal(code, 0, stdout + stderr);
});

Deno.test("the alert rules fire near expiry, on a mismatch and in silence, and not otherwise", async () => {
  const { code, stdout, stderr } = await tryRun(need("promtool"), [
    "test",
    "rules",
    `${folder}/prometheus-rules-test.yml`,
  ]);
  equal(code, 0, stdout + stderr);
});
