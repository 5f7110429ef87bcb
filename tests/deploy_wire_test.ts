// What deploy makes of what it is given on the wire, and of what docker says of the containers.

import { deepEqual, equal, match } from "node:assert/strict";
import {
  type Answered,
  type Expectation,
  isDumb,
  judgeAnswers,
  type Probe,
  seenFor,
} from "../lib/deploy/wire.ts";
import { needsRestart } from "../lib/deploy/apply.ts";
import { judgeOutcomes } from "../lib/deploy/trouble.ts";
import { endpointsOf } from "../lib/chain/scene.ts";
import { formatEndpoint, parseEndpoint } from "../lib/values/endpoint_url.ts";
import { parseMailcowConf } from "../lib/chain/mailcow_conf.ts";
import { type Container, parseContainers, parseDetails } from "../lib/programs/containers.ts";
import type { Served } from "../lib/chain/served.ts";
import { authority } from "./kit/authority.ts";
import { keylessServer } from "./kit/keyless_server.ts";
import { allLoaded, type MailHost, mailHost, type MailHostOptions } from "./kit/mail_host.ts";

const NAME = "mail.example.org";
const DAY_MS = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [old, fresh, foreign] = await Promise.all([
  ca.issue({ names: [NAME], notBefore: daysAgo(60) }),
  ca.issue({ names: [NAME] }),
  ca.issue({ names: ["www.example.net"] }),
]);

function renewal(options: Partial<MailHostOptions> = {}): Promise<MailHost> {
  return mailHost({
    ...{ trust: ca.rootFile, deployed: old, staged: fresh, ...options },
    deploy: { settle: "0.5s", restart_timeout: "1s", ...options.deploy },
  });
}

const restarts = (host: MailHost) => host.calls().filter((call) => call.startsWith("restart"));

/** `given` is a leaf, or nothing. */
function question(url: string, sni: string | null, given: string, more: Partial<Expectation> = {}) {
  const probe: Probe = { endpoint: parseEndpoint(url, "it"), sni };
  const served = given === ""
    ? { kind: "none", reason: "closed" }
    : { kind: "certificate", leaf: { fingerprint: given } };
  const answered: Answered = "now";
  return {
    ...{ probe, right: ["new"], keyKind: null, answered, unhelped: null, ...more },
    served: served as Served, // all that is looked at
  };
}

Deno.test("a restart that nobody made is not said to have been no help", () => {
  const check = { ...question("https://h", NAME, ""), verdict: "unhelped" as const };
  const outcome = {
    ...{ service: "nginx-mailcow", action: "none", checks: [check], isConfirmed: false } as const,
    ...{ hadItsRestart: true, hasStarted: true, wasAway: true, warnings: [] },
    ...{ trouble: null, obstacle: null, withheld: null },
  };
  const compose = { directory: "/opt/mailcow-dockerized", version: "native" } as const;
  const judged = judgeOutcomes([outcome], { compose, foreignMounts: new Map() }, "new");
  equal(judged?.outcome, "stale");
  match(judged?.error ?? "", /; nginx-mailcow gave none after its last start either, and is not/);
});

Deno.test("what an answer means depends on what others of the service give to the same question", () => {
  const never = { answered: "never" } as const;
  const cases: [what: string, questions: ReturnType<typeof question>[], verdicts: string[]][] = [
    ["the new one", [question("imaps://h", NAME, "new")], ["ok"]],
    [
      "an old one beside it",
      [question("imaps://h", NAME, "new"), question("imap://h", NAME, "old")],
      ["ok", "stale"],
    ],
    [
      "silence beside it",
      [question("imaps://h", NAME, "new"), question("imap://h", NAME, "")],
      ["ok", "alone"],
    ],
    [
      "silence beside the new one for another name",
      [question("imaps://h", NAME, "new"), question("imaps://h", null, "")],
      ["ok", "silent"],
    ],
    [
      "silence beside an old one",
      [question("imaps://h", NAME, "old"), question("imap://h", NAME, "")],
      ["stale", "silent"],
    ],
    ["silence as ever", [question("imaps://h", NAME, "", never)], ["absent"]],
    ["an old one, where a restart did not help", [
      question("imaps://h", NAME, "old", { unhelped: "old" }),
    ], ["unhelped"]],
    ["another old one since", [
      question("imaps://h", NAME, "older", { unhelped: "old" }),
    ], ["stale"]],
    ["silence, where a restart did not help", [
      question("imaps://h", NAME, "", { unhelped: "none" }),
    ], ["unhelped"]],
    ["another site, without a name", [question("https://h", null, "old")], ["foreign"]],
    ["another site, with the name", [question("https://h", NAME, "old")], ["stale"]],
  ];
  for (const [what, questions, verdicts] of cases) {
    deepEqual(judgeAnswers(questions).map(({ verdict }) => verdict), verdicts, what);
  }
});

Deno.test("a service is dumb where every endpoint that gave a certificate for a name gives none", () => {
  const isSo = (...questions: ReturnType<typeof question>[]) => isDumb(judgeAnswers(questions));
  const [silent, stale] = [question("imap://h", NAME, ""), question("imaps://h", NAME, "old")];
  equal(isSo(silent), true);
  equal(isSo(silent, question("imaps://h", NAME, "")), true);
  equal(isSo(silent, stale), false);
  equal(isSo(silent, question("imaps://h", NAME, "new")), false);
  equal(isSo(silent, question("imaps://h", null, "new")), true, "for that name");
  equal(isSo(question("imap://h", NAME, "", { answered: "never" })), false);
  // Not while it waits for another one.
  const waiting = judgeAnswers([silent]).map((check) => ({
    ...check,
    verdict: "waiting" as const,
  }));
  equal(isDumb(waiting), false);
  equal(isSo(), false);
});

Deno.test("a restart is made where it could help: not of what is right, nor again in vain", () => {
  const done = { kind: "done", stderr: "" } as const;
  const failed = { kind: "failed", words: "no", isUnreachable: false } as const;
  const [right, stale] = [question("imaps://h", NAME, "new"), question("imap://h", NAME, "old")];
  const silent = question("imap://h", NAME, "");
  const absent = { ...silent, answered: "never" as const };
  const helpless = { ...stale, unhelped: "old" };
  const cases: [what: string, ReturnType<typeof question>[], afterAll: boolean, failed: boolean][] =
    [
      ["all is right", [right], false, false],
      ["an old leaf", [right, stale], true, true],
      ["silence", [silent], true, true],
      ["silence as ever", [absent], false, true],
      ["right beside silence as ever", [right, absent], false, false],
      ["nothing to look at", [], false, true],
      ["no help before", [right, helpless], false, false],
      ["no help before, and nothing right", [helpless], false, false],
    ];
  for (const [what, questions, afterAll, afterFailure] of cases) {
    const checks = judgeAnswers(questions);
    deepEqual(
      [done, failed].map((end) => needsRestart(checks, end)),
      [afterAll, afterFailure],
      what,
    );
  }
});

Deno.test("what became of a service for one name is told by the questions for that name alone", () => {
  const [shop, none] = ["shop.example.com", []];
  const answers = [
    question("imaps://h", NAME, "old"),
    question("imaps://h", shop, "new"),
    question("imap://h", shop, "", { answered: "never" }),
  ];
  const outcome = {
    ...{ service: "dovecot-mailcow", action: "reloaded", isConfirmed: false } as const,
    ...{ checks: judgeAnswers(answers), hadItsRestart: false, hasStarted: false, wasAway: false },
    ...{ trouble: { words: "no" }, obstacle: { words: "no pair" }, withheld: null, warnings: none },
  };
  const seen = (name: string, isConfirmed = false) => {
    const own = seenFor({ ...outcome, isConfirmed }, ({ sni }) => sni === name);
    return [own.checks.length, own.isConfirmed, own.trouble?.words, own.obstacle?.words];
  };
  deepEqual(seen(NAME), [1, false, "no", "no pair"]);
  deepEqual(seen(shop), [2, true, undefined, undefined]);
  // Of what was not asked, or answers as ever, nobody can tell more than of the service.
  deepEqual(seen("club.example.net"), [0, false, "no", undefined]);
  deepEqual(seen("club.example.net", true), [0, true, "no", "no pair"]);
});

const CONF = parseMailcowConf(`MAILCOW_HOSTNAME=${NAME}\nHTTPS_PORT=8443\nSMTP_PORT=2525`, "conf");

Deno.test("which endpoints are mailcow's is what docker publishes of the containers' ports", () => {
  const container = (
    service: string,
    ...ports: [from: number, address: string, to: number][]
  ) =>
    [service, {
      ...{ id: "x", service, state: "running" as const, usesHostNetwork: false },
      ...{ configured: [], mounts: [], skipsLetsEncrypt: null },
      published: ports.map(([containerPort, address, port]) => ({ containerPort, address, port })),
    }] as const;
  const urls = (...containers: ReturnType<typeof container>[]) =>
    endpointsOf(CONF, new Map(containers)).map(formatEndpoint);
  const [postfix, dovecot] = ["postfix-mailcow", "dovecot-mailcow"];
  const others = [container(dovecot ?? ""), container("nginx-mailcow")];
  deepEqual(urls(container(postfix ?? ""), ...others), []);
  deepEqual(
    urls(
      container(postfix ?? "", [25, "0.0.0.0", 26], [25, "::", 26], [465, "192.0.2.1", 465]),
      container(dovecot ?? "", [993, "::", 993], [24, "127.0.0.1", 24]),
      container("nginx-mailcow", [8443, "127.0.0.1", 443], [443, "127.0.0.1", 1443]),
    ),
    [
      "smtp://127.0.0.1:26",
      "smtps://192.0.2.1:465",
      "imaps://[::1]:993",
      "https://127.0.0.1:443",
    ],
  );
  equal(
    urls(...others).join(),
    "smtp://127.0.0.1:2525,submission://127.0.0.1:587,smtps://127.0.0.1:465",
  );
  // What docker did not tell is not taken for "nowhere".
  const [, { usesHostNetwork: _, ...untold }] = container(postfix ?? "");
  for (const one of [untold, { ...untold, usesHostNetwork: true }]) {
    const endpoints = endpointsOf(CONF, new Map([["postfix-mailcow", one], ...others]));
    equal(endpoints.map(formatEndpoint)[0], "smtp://127.0.0.1:2525");
  }
  const proxied = parseMailcowConf("NGINX_USE_PROXY_PROTOCOL=y", "conf");
  const nginx = container("nginx-mailcow", [443, "", 443]);
  deepEqual(
    endpointsOf(proxied, new Map([nginx, ...others.slice(0, 1), container(postfix ?? "")])),
    [],
  );
});

Deno.test("docker's own words are understood, of old and new versions", () => {
  const one = JSON.stringify({
    ...{ ID: "abc", Service: "postfix-mailcow", State: "running", Health: "", ExitCode: 0 },
    Publishers: [
      { URL: "0.0.0.0", TargetPort: 25, PublishedPort: 25, Protocol: "tcp" },
      { URL: "", TargetPort: 588, PublishedPort: 0, Protocol: "tcp" },
    ],
  });
  const expected: Container[] = [{
    ...{ id: "abc", service: "postfix-mailcow", state: "running" },
    published: [{ containerPort: 25, address: "0.0.0.0", port: 25 }],
  }];
  for (const text of [`${one}\n`, `[${one}]`]) deepEqual(parseContainers(text), expected);
  const states: [json: string, state: string][] = [
    ['"State":"created"', "stopped"],
    ['"State":"exited","ExitCode":137', "stopped"],
    ['"State":"exited","ExitCode":1', "broken"],
    ['"State":"restarting","ExitCode":0', "broken"],
    ['"State":"paused"', "paused"],
    ['"State":"running","Health":"starting"', "starting"],
    ['"State":"removing"', "unknown"],
  ];
  for (const [json, state] of states) equal(parseContainers(`{${json}}`)[0]?.state, state, json);
  deepEqual(parseContainers("no JSON"), []);

  const details = parseDetails(JSON.stringify({
    network: "host",
    bindings: {
      "25/tcp": [{ HostIp: "", HostPort: "25" }, { HostIp: "::1", HostPort: "26-27" }],
      "53/udp": [{ HostIp: "", HostPort: "53" }],
      "465/tcp": null,
    },
    mounts: [{ Type: "bind", Source: "/a", Destination: "/etc/ssl/mail" }],
    skips: ["n", null],
  }));
  deepEqual(details, {
    usesHostNetwork: true,
    configured: [{ containerPort: 25, address: "", port: 25 }],
    mounts: [{ source: "/a", destination: "/etc/ssl/mail" }],
    skipsLetsEncrypt: "n",
  });
});

Deno.test("where docker publishes an endpoint elsewhere it is asked there, and nginx nowhere", async () => {
  await using host = await renewal();
  const { ports } = host.services;
  await host.mailcow.configure({ IMAPS_PORT: "127.0.0.1:1", HTTPS_PORT: "2" });
  host.docker.published = {
    imaps: { address: "0.0.0.0", port: ports.imaps },
    smtps: { address: "127.0.0.1", port: ports.smtps },
  };
  const result = await host.deploy(["--json"]);
  equal(result.code, 0, result.stderr);
  const urls = result.json().served.map(({ endpoint }: { endpoint: string }) => endpoint);
  deepEqual(
    [...new Set(urls)].sort(),
    [host.services.url("imaps"), host.services.url("smtps")],
  );
  deepEqual(result.json().warnings, []);
  match(result.json().notes.join(), /nginx-mailcow is published nowhere on this host/);
  equal(host.services.connections("https"), 0);
  deepEqual(await host.loaded(), allLoaded(fresh));
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("ports that nobody can reach: deployed, then unchanged, with a warning each time", async () => {
  await using host = await renewal();
  for (const name of ["smtp", "submission", "smtps"] as const) {
    await host.services.behave(name, "closed");
  }
  const first = await host.deploy(["--json"]);
  deepEqual([first.code, first.json().outcome], [0, "deployed"], first.stderr);
  match(first.json().warnings.join(), /no certificate, before or after, from smtp:/);
  deepEqual(await host.loaded(), allLoaded(fresh));
  host.docker.forget();
  const second = await host.deploy(["--json"]);
  deepEqual([second.code, second.json().outcome], [0, "unchanged"]);
  match(second.json().warnings.join(), /postfix-mailcow was told .* not seen to serve it/);
  match(
    (await host.deploy()).stdout,
    /^nothing to do: mailcow has .*\nnot seen to be served by postfix-mailcow$/m,
  );
  deepEqual(host.calls(), []);

  // What was not confirmed before leaves it as the files have it.
  await Deno.writeTextFile(`${host.state}/loaded`, "");
  for (const name of ["imap", "imaps", "pop3", "pop3s", "sieve", "https"] as const) {
    await host.services.behave(name, "closed");
  }
  const third = await host.deploy(["--json"]);
  deepEqual([third.code, third.json().outcome], [0, "unchanged"], third.stderr);
  deepEqual(restarts(host), []);
});

Deno.test("a server that shows the right chain and has another key serves nothing", async () => {
  await using rogue = keylessServer(fresh.certPem);
  await using host = await renewal();
  const url = `imaps://127.0.0.1:${rogue.port}`;
  await host.configure({ endpoints: [host.services.url("imap"), url, host.services.url("smtps")] });
  const result = await host.deploy(["--json"]);
  const given = result.json().served.filter(({ endpoint }: { endpoint: string }) =>
    endpoint === url
  );
  deepEqual(given.map(({ ok }: { ok: boolean }) => ok), [false, false]);
  match(result.json().warnings.join(), /showed a certificate whose key it does not have/);
  match((await host.deploy(["--force"])).stdout, /4 of 6 handshakes gave the right one/);
});

Deno.test("https without a name may be another site: a warning, and nothing is restarted", async () => {
  await using host = await renewal({
    prepare: (mailcow) => mailcow.putSni("a", foreign, [NAME, "www.example.net"]),
  });
  await using other = await mailHost({ trust: ca.rootFile, deployed: foreign });
  await host.configure({ endpoints: [other.services.url("https"), host.services.url("imaps")] });
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "stale"], "with the name it is stale");
  match(result.json().warnings.join(), /without a name another site may answer there: https:/);
  match(result.json().hint, /another proxy or site .*ss -ltnp.* deploy\.endpoints/);
  deepEqual(restarts(host), ["restart nginx-mailcow"]);

  for (const run of [2, 3]) {
    host.docker.forget();
    equal((await host.deploy(["--json"])).json().outcome, "stale", `run ${run}`);
    deepEqual(restarts(host), []);
  }
  await host.configure({ endpoints: [host.services.url("imaps")] }); // as the hint says
  equal((await host.deploy()).code, 0);
  equal((await host.deploy(["--json"])).json().outcome, "unchanged");
});

Deno.test("a foreign pair that an override mounts is named", async () => {
  await using host = await renewal({ endpoints: ["smtps", "imaps"] });
  host.docker.mounts.dovecot.push({
    Source: "/srv/own.pem",
    Destination: "/etc/ssl/mail/cert.pem",
  });
  host.services.temper("dovecot", { ignores: "restart" });
  const result = await host.deploy(["--json"]);
  equal(result.json().outcome, "stale");
  match(
    result.json().hint,
    /dovecot-mailcow has "\/srv\/own\.pem" at \/etc\/ssl\/mail\/cert\.pem: take that out of docker-c/,
  );
});

Deno.test("a directory that holds no pair keeps what reads it from being restarted, and no other", async () => {
  const domains = ["www.example.net"];
  await using host = await renewal({
    endpoints: ["smtps", "imaps", "https"],
    prepare: async (mailcow) => {
      await mailcow.putSni("mixed", { ...foreign, keyPem: old.keyPem }, domains);
      await Deno.rename(`${mailcow.ssl}/mixed`, `${mailcow.ssl}/.mixed`); // nginx alone finds it
    },
    up: [],
  });
  await Deno.rename(`${host.mailcow.ssl}/.mixed`, `${host.root}/away`);
  for (const service of ["postfix", "dovecot", "nginx"] as const) {
    await host.services.start(service);
  }
  await Deno.rename(`${host.root}/away`, `${host.mailcow.ssl}/.mixed`);
  host.services.temper("nginx", { ignores: "reload" });
  host.services.temper("dovecot", { ignores: "reload" });
  const result = await host.deploy(["--json"]);
  deepEqual([result.code, result.json().outcome], [1, "stale"]);
  deepEqual(restarts(host), ["restart dovecot-mailcow"]);
  match(result.json().error, /nginx-mailcow was not restarted.*\.mixed" holds no pair: its key/);
  match(result.json().hint, /mend that pair, or move its directory out/);
  match(result.json().warnings.join(), /\.mixed" holds no pair.*nginx would not start with it/);

  await Deno.remove(`${host.mailcow.ssl}/.mixed`, { recursive: true });
  const healed = await host.deploy(["--json"]);
  deepEqual([healed.code, healed.json().outcome], [0, "repaired"], healed.stderr);
});

Deno.test("the running acme-mailcow that does not know yet that it shall skip is told of", async () => {
  for (const [knows, expected] of [["n", 1], [null, 0], ["yes", 0]] as const) {
    await using host = await renewal({ endpoints: ["imaps"] });
    host.docker.acme = knows;
    const { warnings } = (await host.deploy(["--json"])).json();
    equal(warnings.length, expected, String(warnings));
    if (expected === 0) continue;
    match(warnings[0], /acme-mailcow does not know.*up -d acme-mailcow$/);
    const settled = (await host.deploy(["--json"])).json();
    equal(settled.outcome, "unchanged");
    match(settled.warnings[0], /acme-mailcow does not know/);
    host.docker.acme = "y"; // made anew
    deepEqual((await host.deploy(["--json"])).json().warnings, []);
    host.docker.forget();
    deepEqual((await host.deploy(["--json"])).json().warnings, []);
    deepEqual(host.calls(), []);
  }
});

Deno.test("what was stopped half-way says what is left to do", async () => {
  await using host = await renewal({ deploy: { settle: "30s" } });
  host.services.temper("dovecot", { ignores: "reload" });
  const run = host.start(["--json"]);
  while (!host.calls().includes("exec -T dovecot-mailcow dovecot reload")) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  run.kill("SIGINT");
  const { json } = await run.result;
  match(json().error, /^stopped by SIGINT$/);
  match(json().hint, /installed, but not seen to be served yet.*certsync deploy/);
  host.services.temper("dovecot", {});
  equal((await host.deploy(["--json"])).json().outcome, "repaired", "as the hint says");
});
