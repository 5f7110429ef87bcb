// On a host that has docker-compose alone every advice says it so, and can be followed.

import { deepEqual, equal, match } from "node:assert/strict";
import { certsync } from "./kit/certsync.ts";
import type { MailHost } from "./kit/mail_host.ts";
import { CLUB, NAME, namesAuthority, outcomes, refusalOf, SHOP } from "./kit/names_host.ts";

const { ca, issue, namesHost } = await namesAuthority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const [BLOG, WIKI, NEWS] = ["blog.example.com", "wiki.example.com", "news.example.com"] as const;
const leaves = {
  [SHOP]: await issue([SHOP]),
  [CLUB]: await issue([CLUB]),
  [BLOG]: await issue([BLOG]),
  [WIKI]: await issue([WIKI]),
  [NEWS]: await issue([NEWS]),
};

async function assertSaysStandalone(host: MailHost, commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    const { stdout, stderr } = await certsync([command, "--config", host.config], {
      path: host.docker.bin,
    });
    const said = stdout + stderr;
    equal(said.includes("docker compose"), false, said);
    match(said, /docker-compose /, command);
    for (const [call] of said.matchAll(/.{0,90}docker-compose (?=up -d|restart |logs )/g)) {
      match(call, /&& docker-compose $/, "it is not said where");
    }
  }
}

Deno.test("where mailcow.conf says standalone every advice calls docker-compose, and does what it says", async () => {
  await using host = await namesHost(leaves, {
    conf: { DOCKER_COMPOSE_VERSION: "standalone" },
    prepare: async (mailcow) => {
      await mailcow.putSni("one", leaves[SHOP], [SHOP]); // several
      await mailcow.putSni("two", leaves[SHOP], [SHOP]);
      await mailcow.putSni("three", leaves[CLUB], [`${CLUB}.`]); // not read alike
      await mailcow.putSni("four", leaves[BLOG], [BLOG, "x.example.com"]); // not covered
      await mailcow.putSni(WIKI, leaves[WIKI], ["y.example.com"]); // somebody else's place
    },
  });
  host.docker.intercept = ({ argv }) =>
    argv[0] === "docker" && argv[1] === "compose"
      ? { code: 1, stderr: "docker: 'compose' is not a docker command.\n" }
      : undefined;
  host.docker.acme = "n"; // makes nothing for the last one
  const refused = (await host.deploy(["--json"])).json();
  const all = Object.fromEntries(Object.keys(leaves).map((name) => [name, "refused"]));
  deepEqual(outcomes(refused), { ...all, [NAME]: "repaired" });
  await assertSaysStandalone(host, ["deploy", "verify", "status"]);

  const follow = async (name: string, byHand = () => Promise.resolve()) => {
    const hint = refusalOf((await host.deploy(["--json"])).json(), name);
    const [command = ""] = /cd \S+ && docker-compose [a-z -]+/.exec(hint) ?? [];
    await byHand();
    host.docker.forget();
    await host.shell(command);
    equal(host.docker.calls.every(([program]) => program === "docker-compose"), true);
  };
  await follow(NEWS); // acme-mailcow is made anew
  equal(host.docker.acme, "y");
  const takeOut = () => Deno.rename(`${host.mailcow.ssl}/two`, `${host.root}/two`);
  await follow(SHOP, takeOut); // the three are restarted
  await host.deploy();
  const last = outcomes((await host.deploy(["--json"])).json());
  deepEqual([last[SHOP], last[NEWS]], ["unchanged", "unchanged"]);

  await host.mailcow.configure({ SKIP_LETS_ENCRYPT: "n" });
  await assertSaysStandalone(host, ["deploy", "verify", "status"]);
  const { hint } = (await host.deploy(["--json"])).json();
  match(hint, /mailcow\.conf, then: cd \S+ && docker-compose up -d$/);
});
