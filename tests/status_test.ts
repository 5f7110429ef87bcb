// What status says of this host; where it is not well, the way out that it gives is followed.

import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { Failure } from "../lib/failure.ts";
import { failedPoint, type State } from "../lib/status/point.ts";
import { emptyStatusReport, endingOf } from "../lib/status/report.ts";
import { unitPoints } from "../lib/status/unit_points.ts";
import { authority, type Leaf } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { type FakeSystemctl, fakeSystemctl, type Properties } from "./kit/fake_systemctl.ts";
import { freePort } from "./kit/free_port.ts";
import { type MailHost, mailHost } from "./kit/mail_host.ts";
import { need } from "./kit/programs.ts";
import { concurrently } from "./kit/concurrently.ts";
import { makeScene, NAME, namesIn, type Scene } from "./kit/push_scene.ts";
import { forcedCommand, type SshServer, sshServer } from "./kit/ssh_server.ts";
import { tempDir } from "./kit/temp_dir.ts";

const ca = await authority();
Deno.test.afterAll(async () => await ca[Symbol.asyncDispose]());
const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000);
const issue = (from: number, names = [NAME]): Promise<Leaf> =>
  ca.issue({ names, notBefore: daysAgo(from), notAfter: daysAgo(from - 90) });
const [fresh, overdue, expired, other] = await Promise.all([
  issue(1),
  issue(80),
  issue(100),
  issue(1, ["other.example.org"]),
]);

interface Point {
  point: string;
  state: string;
  words: string;
  mend?: string;
}

interface Report {
  roles: string[];
  points: Point[];
  history: { command: string; outcome: string; name: string; times?: number }[];
}

/** A host on which status can be asked, and what it says to do can be done. */
interface Host {
  systemctl: FakeSystemctl;
  status(...args: string[]): Promise<Report & { code: number; stdout: string }>;
  /** Runs a line of shell, as root would. */
  type(line: string): Promise<void>;
}

interface NpmHost extends Host, AsyncDisposable {
  scene: Scene;
}

const VERIFY = {
  ...{ role: "verify", watches: null, config: "/etc/certsync/config.yaml", writes: [] } as const,
  ...{ isWithin: () => true, setup: "" },
};

const WATCHED = (path: string): Properties => ({ Paths: [`${path} (PathChanged)`] });

/** Of which everything is well, until a test changes that. */
async function npmHost(server?: SshServer): Promise<NpmHost> {
  await using stack = new AsyncDisposableStack();
  const scene = stack.use(await makeScene({ ca, leaf: fresh, ...(server && { server }) }));
  const systemctl = stack.use(await fakeSystemctl());
  if (server === undefined) await scene.server.force(forcedCommand("-azL", scene.incoming));
  await Deno.mkdir(`${scene.npm.root}/renewal`);
  await systemctl.set("mailcow-cert-push.timer", {
    NextElapseUSecRealtime: "Fri 2026-11-27 03:02:11 UTC",
  });
  await systemctl.set("mailcow-cert-push.service", {});
  await systemctl.set("mailcow-cert-push.path", WATCHED(`${scene.npm.root}/renewal`));
  const owned = stack.move();
  return {
    scene,
    ...hostOf(systemctl, systemctl.bin, scene.configFile),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface DeployHost extends Host, AsyncDisposable {
  host: MailHost;
}

async function deployHost(): Promise<DeployHost> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(
    await mailHost({ trust: ca.rootFile, deployed: fresh, staged: fresh, endpoints: ["imaps"] }),
  );
  const systemctl = stack.use(await fakeSystemctl());
  await systemctl.set("mailcow-cert-deploy.timer", {});
  await systemctl.set("mailcow-cert-deploy.service", {
    ExecMainExitTimestamp: "Thu 2026-11-26 03:15:12 UTC",
  });
  await systemctl.set("mailcow-cert-deploy.path", WATCHED(host.staging));
  const owned = stack.move();
  return {
    host,
    ...hostOf(systemctl, `${systemctl.bin}:${host.docker.bin}`, host.config),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function hostOf(systemctl: FakeSystemctl, path: string, config: string): Host {
  return {
    systemctl,
    async status(...args) {
      const result = await certsync(["status", "--config", config, "--json", ...args], { path });
      return { ...result.json(), code: result.code, stdout: result.stdout };
    },
    async type(line) {
      const { success, stderr } = await new Deno.Command("sh", {
        args: ["-ec", line],
        env: { PATH: `${path}:${Deno.env.get("PATH")}` },
      }).output();
      ok(success, `${line}: ${new TextDecoder().decode(stderr)}`);
    },
  };
}

function pointOf({ points }: Report, name: string): Point {
  const found = points.filter(({ point }) => point === name);
  const bad = found.find(({ state }) => state !== "ok") ?? found[0];
  ok(bad !== undefined, `no ${name} among ${points.map(({ point }) => point).join(", ")}`);
  return bad;
}

interface Trouble<H> {
  what: string;
  point: string;
  state: "note" | "warning" | "error" | "unknown";
  words: RegExp;
  mend: RegExp;
  arrange(host: H): unknown;
  /** Does what the mend says; without it, it is a line of shell. */
  follow?(host: H, mend: string): unknown;
}

async function followEach<H extends Host & AsyncDisposable>(
  t: Deno.TestContext,
  make: () => Promise<H>,
  troubles: readonly Trouble<H>[],
): Promise<void> {
  await concurrently(
    t,
    troubles.map(({ what, point, state, words, mend, arrange, follow }) => [what, async () => {
      await using host = await make();
      await arrange(host);
      const before = await host.status();
      const bad = pointOf(before, point);
      equal(bad.state, state, JSON.stringify(bad));
      match(bad.words, words);
      match(bad.mend ?? "", mend);
      equal(before.code, state === "note" || state === "unknown" ? 0 : 1);

      if (follow === undefined) await host.type(bad.mend ?? "");
      else await follow(host, bad.mend ?? "");
      const after = await host.status();
      const left = after.points.filter((one) => one.point === point && one.state !== "ok");
      deepEqual(left, []);
      equal(after.code, 0, JSON.stringify(after.points));
    }]),
    6,
  );
}

/** Of a line that ends with a pipe into sh: that it prints the script; what that does, setup_test knows. */
async function printsScript(mend: string): Promise<void> {
  const [, line = ""] = /^certsync (setup .*) \| sh$/.exec(mend) ?? [];
  const words = Array.from(
    line.matchAll(/"([^"]*)"|(\S+)/g),
    ([, quoted, bare]) => String(quoted ?? bare),
  );
  // A unit's /tmp is its own, so that setup refuses the directories of a test.
  const config = words[words.indexOf("--config") + 1] ?? "";
  const { push, ...rest } = JSON.parse(await Deno.readTextFile(config));
  await Deno.writeTextFile(
    `${config}.srv`,
    JSON.stringify({ ...rest, push: { ...push, live: "/srv", state: undefined } }),
  );
  const argv = words.map((word) => word === config ? `${config}.srv` : word);
  const { code, stdout, stderr } = await certsync(argv);
  deepEqual([code, stderr], [0, ""], mend);
  match(stdout, /^#!\/bin\/sh\n/);
}

const setupUnit =
  (unit: string, properties: (host: NpmHost) => Properties = () => ({})) =>
  async (host: NpmHost, mend: string) => {
    await printsScript(mend);
    await host.systemctl.set(unit, properties(host));
  };

const target = ({ scene }: NpmHost) => `target ${scene.to}`;

Deno.test("status of a NPM host where all is well says so, and changes and sends nothing", async () => {
  await using host = await npmHost();
  const { scene } = host;
  const report = await host.status();
  deepEqual(report.roles, ["push"]);
  deepEqual(report.points.filter(({ state }) => state !== "ok").map(({ point }) => point), [
    "alert",
  ]);
  equal(report.code, 0);
  equal(pointOf(report, target(host)).words, "lets this host in, and answers as rsync does");
  match(pointOf(report, "rsync").words, /^rsync version \d/);
  match(pointOf(report, `source of ${NAME}`).words, /npm-5": [0-9A-F:]{11}, valid until \d{4}-/);
  match(
    pointOf(report, "mailcow-cert-push.timer").words,
    /^active, next run 2026-11-27T03:02:11Z$/,
  );
  equal(pointOf(report, "mailcow-cert-push.service").words, "has not run yet");
  deepEqual([namesIn(scene.incoming), scene.server.connections()], [[], 1]);
  equal(namesIn(scene.path).includes("state"), false);

  const { code, stdout, stderr } = await certsync(["status", "--config", scene.configFile], {
    path: host.systemctl.bin,
  });
  deepEqual([code, stderr], [0, ""]);
  match(
    stdout,
    /^this host's part: push\nok {7}config: .*\n[^]*\nnote {5}alert: .*\n {9}mend: .*\nall well\n$/,
  );
  const quiet = await certsync(["status", "-q", "--offline", "--config", scene.configFile], {
    path: host.systemctl.bin,
  });
  deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, "", ""]);
  equal(scene.server.connections(), 2, "--offline asks nobody");
  await host.systemctl.set("mailcow-cert-push.timer", { UnitFileState: "disabled" });
  const loud = await certsync(["status", "-q", "--offline", "--config", scene.configFile], {
    path: host.systemctl.bin,
  });
  equal(loud.code, 1);
  match(
    loud.stdout,
    /^error {4}mailcow-cert-push\.timer: .*\n {9}mend: .*\nnote {5}alert: .*\n {9}mend: .*\n1 error\n$/,
  );
});

Deno.test("status of a mail host where all is well says so, and changes nothing", async () => {
  await using host = await deployHost();
  const report = await host.status();
  deepEqual(report.roles, ["deploy"]);
  deepEqual(report.points.filter(({ state }) => state !== "ok").map(({ point }) => point), [
    "alert",
  ]);
  equal(report.code, 0);
  match(
    pointOf(report, "mailcow").words,
    /mailcow\.conf": mail\.example\.org, SKIP_LETS_ENCRYPT=y$/,
  );
  equal(
    pointOf(report, "mailcow-cert-deploy.service").words,
    "last run well, ended 2026-11-26T03:15:12Z",
  );
  equal(await Deno.lstat(host.host.state).catch(() => null), null);
  ok(host.host.calls().every((call) => /^(ps|inspect|)$/.test(call)), host.host.calls().join(";"));
});

Deno.test("a host without a part is told the three ways to one, and nothing else", async () => {
  await using systemctl = await fakeSystemctl();
  for (const args of [[], ["--offline"]]) {
    const { code, json } = await certsync(["status", "--json", ...args], { path: systemctl.bin });
    equal(code, 1);
    const { roles, points, history } = json();
    deepEqual([roles, history, points.length], [[], [], 1]);
    deepEqual([points[0].point, points[0].state], ["role", "error"]);
    const lines = points[0].mend.match(/certsync setup (push|deploy|local) /g);
    deepEqual(lines, ["certsync setup push ", "certsync setup deploy ", "certsync setup local "]);
    match(points[0].mend, / certsync setup deploy --authorized-key '…' \| sh;/);
  }
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/c.yaml`, "");
  const told = await certsync(["status", "--json", "--config", `${dir.path}/c.yaml`], {
    path: systemctl.bin,
  });
  const setups = told.json().points[0].mend.match(/certsync setup \w+ --config \S+\/c\.yaml" /g);
  equal(setups?.length, 3, told.stdout);
  const bad = await certsync(["status", "--nonsense", "--json"]);
  deepEqual([bad.code, bad.json().points], [2, []]);
});

Deno.test("status on a NPM host gives the way out, and it is one", async (t) => {
  const push = "mailcow-cert-push";
  await using server = await sshServer();
  await followEach<NpmHost>(t, () => npmHost(server), [
    {
      what: "a key that others can read",
      point: "ssh key",
      state: "error",
      words: /others can read it/,
      mend: /^chmod 600 /,
      arrange: async ({ scene }) => {
        await Deno.copyFile(scene.server.identity, `${scene.path}/key`);
        await Deno.chmod(`${scene.path}/key`, 0o644);
        await scene.configure({ identity: `${scene.path}/key` });
      },
    },
    {
      what: "no live directory",
      point: "source",
      state: "error",
      words: /no live directory/,
      mend: /push\.live/,
      arrange: ({ scene }) => scene.configure({ live: `${scene.path}/none` }),
      follow: ({ scene }) => scene.configure({ live: scene.npm.live }),
    },
    {
      what: "no certificate for the name",
      point: `source of ${NAME}`,
      state: "error",
      words: /no certificate covers it/,
      mend: /^see what is there with: certsync find-npm-dir .*--all$/,
      arrange: ({ scene }) => scene.npm.renew(5, other),
      follow: ({ scene }) => scene.npm.renew(5, fresh),
    },
    ...([["expired", expired, "error"], ["overdue", overdue, "warning"]] as const).map((
      [what, leaf, state],
    ) => ({
      what: `a certificate that is ${what}`,
      point: `source of ${NAME}`,
      state,
      words: new RegExp(`valid until \\d{4}-\\d\\d-\\d\\d, .*${what}$`),
      mend: /^renew it in Nginx Proxy Manager/,
      arrange: ({ scene }: NpmHost) => scene.npm.renew(5, leaf),
      follow: ({ scene }: NpmHost) => scene.npm.renew(5, fresh),
    })),
    {
      what: "a timer that is not enabled",
      point: `${push}.timer`,
      state: "error",
      words: /^is not enabled: nothing runs certsync push by itself$/,
      mend: /^systemctl enable --now mailcow-cert-push\.timer$/,
      arrange: ({ systemctl }) =>
        systemctl.set(`${push}.timer`, { UnitFileState: "disabled", ActiveState: "inactive" }),
    },
    {
      what: "a timer that is stopped",
      point: `${push}.timer`,
      state: "error",
      words: /^is not active/,
      mend: /^systemctl enable --now/,
      arrange: ({ systemctl }) => systemctl.set(`${push}.timer`, { ActiveState: "inactive" }),
    },
    {
      what: "a timer that is masked",
      point: `${push}.timer`,
      state: "error",
      words: /^is masked$/,
      mend: /^systemctl unmask /,
      arrange: ({ systemctl }) =>
        systemctl.set(`${push}.timer`, {
          LoadState: "masked",
          UnitFileState: "masked",
          ActiveState: "inactive",
        }),
    },
    {
      what: "no timer",
      point: `${push}.timer`,
      state: "error",
      words: /^is not installed$/,
      mend: /^certsync setup push --config \S+ --domain mail\.example\.org --to .* \| sh$/,
      arrange: ({ systemctl }) => systemctl.remove(`${push}.timer`),
      follow: setupUnit(`${push}.timer`),
    },
    {
      what: "a run that failed",
      point: `${push}.service`,
      state: "error",
      words: /^last run failed: exit code 1, ended 2026-11-26T03:00:12Z$/,
      mend: /journalctl -u mailcow-cert-push\.service/,
      arrange: ({ systemctl }) =>
        systemctl.set(`${push}.service`, {
          ...{ ActiveState: "failed", Result: "exit-code", ExecMainStatus: "1" },
          ExecMainExitTimestamp: "Thu 2026-11-26 03:00:12 UTC",
        }),
      follow: ({ type }, mend) => type(/systemctl start \S+$/.exec(mend)?.[0] ?? "false"),
    },
    {
      what: "a machine without sandboxes",
      point: `${push}.service`,
      state: "error",
      words: /cannot make its sandbox on this machine \(status 226\)/,
      mend: /^certsync setup push .* \| sh$/,
      arrange: ({ systemctl }) =>
        systemctl.set(`${push}.service`, {
          ...{ ActiveState: "failed", Result: "exit-code", ExecMainStatus: "226" },
        }),
      follow: setupUnit(`${push}.service`),
    },
    {
      what: "a path unit that is not enabled",
      point: `${push}.path`,
      state: "note",
      words: /^is not enabled: what changes waits for the timer$/,
      mend: /^systemctl enable --now mailcow-cert-push\.path$/,
      arrange: ({ systemctl, scene }) =>
        systemctl.set(`${push}.path`, {
          ...WATCHED(`${scene.npm.root}/renewal`),
          ...{ UnitFileState: "disabled", ActiveState: "inactive" },
        }),
    },
    {
      what: "a path unit that systemd gave up",
      point: `${push}.path`,
      state: "error",
      words: /^systemd has given it up \(unit-start-limit-hit\)/,
      mend: /^systemctl reset-failed .*; systemctl start mailcow-cert-push\.path$/,
      arrange: ({ systemctl, scene }) =>
        systemctl.set(`${push}.path`, {
          ...WATCHED(`${scene.npm.root}/renewal`),
          ...{ ActiveState: "failed", Result: "unit-start-limit-hit" },
        }),
    },
    {
      what: "a path unit that watches elsewhere",
      point: `${push}.path`,
      state: "warning",
      words: /^does not watch \S+\/renewal, but \/etc\/letsencrypt\/renewal$/,
      mend: /^certsync setup push .* \| sh$/,
      arrange: ({ systemctl }) =>
        systemctl.set(`${push}.path`, WATCHED("/etc/letsencrypt/renewal")),
      follow: setupUnit(
        `${push}.path`,
        ({ scene }) => WATCHED(`${scene.npm.root}/renewal`),
      ),
    },
  ]);
});

Deno.test("status tells of a target what its greeting can show, and the way out is one", async (t) => {
  const asTyped = ({ scene }: NpmHost, mend: string) => {
    const line = /asks for: (rsync .*)$/.exec(mend.replace(/; and see that.*/, ""))?.[1] ?? "false";
    const { stdout, stderr } = new Deno.Command("sh", { args: ["-c", line] }).outputSync();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const [, command = ""] = /(rsync --server .+?) *(?:\(\d+ args\))?$/m.exec(said) ?? [];
    return scene.server.force(command);
  };
  const each = (changes: Omit<Trouble<NpmHost>, "point">[]) =>
    concurrently(
      t,
      changes.map(({ what, state, words, mend, arrange, follow }) => [what, async () => {
        await using host = await npmHost();
        await arrange(host);
        const started = performance.now();
        const bad = pointOf(await host.status(), target(host));
        equal(bad.state, state, JSON.stringify(bad));
        match(bad.words, words);
        match(bad.mend ?? "", mend);
        ok(performance.now() - started < 30_000);
        if (follow === undefined) return;
        await follow(host, bad.mend ?? "");
        equal(pointOf(await host.status(), target(host)).state, "ok");
        deepEqual(namesIn(host.scene.incoming), []);
      }]),
      6,
    );
  await each([
    {
      what: "a forced command without z",
      state: "warning",
      words: /for rsync without -z/,
      mend: /^have this line in authorized_keys over there: command="rsync --server -logDtprze/,
      arrange: ({ scene }) => scene.server.force(forcedCommand("-aL", scene.incoming)),
      follow: ({ scene }, mend) =>
        scene.server.authorize(mend.replace("have this line in authorized_keys over there: ", "")),
    },
    {
      what: "an account that prints something first",
      state: "error",
      words: /begins with "Welcome"/,
      mend: /compare the command=/,
      arrange: ({ scene }) =>
        scene.server.force(`echo Welcome; ${forcedCommand("-azL", scene.incoming)}`),
      follow: asTyped,
    },
    {
      what: "a command that prints without end",
      state: "error",
      words: /begins with "y/,
      mend: /compare the command=/,
      arrange: ({ scene }) => scene.server.force("yes"),
      follow: asTyped,
    },
    {
      what: "a command that never answers",
      state: "error",
      words: /did not answer.*no end within 10 s/,
      mend: /compare the command=/,
      arrange: ({ scene }) => scene.server.force("sleep 60"),
      follow: asTyped,
    },
    {
      what: "no rsync on the other side",
      state: "error",
      words: /rsync is missing on the other side/,
      mend: /install the package rsync/,
      arrange: ({ scene }) => scene.server.force("/nonexistent/rsync --server"),
      follow: ({ scene }) => scene.server.force(forcedCommand("-azL", scene.incoming)),
    },
    {
      what: "a closed port",
      state: "error",
      words: /the connection was refused/,
      mend: /firewall/,
      arrange: ({ scene }) => scene.configure({ port: freePort() }),
      follow: ({ scene }) => scene.configure({ port: scene.server.port }),
    },
    {
      what: "a host key that is not known",
      state: "error",
      words: /host key/,
      mend: /ssh-keyscan|known_hosts/,
      arrange: ({ scene }) => scene.configure({ known_hosts: scene.server.emptyKnownHosts }),
      follow: ({ scene }) => scene.configure({ known_hosts: scene.server.knownHosts }),
    },
    {
      what: "a key that the other side does not take",
      state: "error",
      words: /permission denied|does not take|not accepted/i,
      mend: /authorized_keys/,
      arrange: ({ scene }) => scene.configure({ identity: scene.server.strangerIdentity }),
      follow: ({ scene }) => scene.configure({ identity: scene.server.identity }),
    },
    {
      what: "a push that runs",
      state: "unknown",
      words: /^a push is running$/,
      mend: /^run certsync status --config "[^"]+" again when that has ended$/,
      arrange: async ({ scene }) => {
        await Deno.mkdir(scene.state, { mode: 0o700 });
        const lock = await Deno.open(`${scene.state}/lock`, { create: true, write: true });
        await lock.lock(true);
        locks.set(scene.state, lock);
      },
      follow: ({ scene }) => {
        equal(scene.server.connections(), 0, "it was asked");
        locks.get(scene.state)?.close();
      },
    },
  ]);
});

const locks = new Map<string, Deno.FsFile>();

Deno.test("forced commands that old and new clients can talk to are no trouble", async () => {
  await using host = await npmHost();
  await host.scene.server.force(`rsync --server -logDtprze.iLsfxC . ${host.scene.incoming}`);
  equal(pointOf(await host.status(), target(host)).state, "ok");
});

Deno.test("status on a mail host gives the way out, and it is one", async (t) => {
  const up = ({ host }: DeployHost, command: RegExp, deed: () => void) => {
    host.docker.intercept = ({ argv }) => {
      if (!command.test(argv.join(" "))) return undefined;
      deed();
      return { code: 0 };
    };
  };
  const docker = ({ host }: DeployHost) => host.docker;
  await followEach<DeployHost>(t, deployHost, [
    {
      what: "mailcow's own client at work",
      point: "mailcow",
      state: "error",
      words: /would overwrite the certificate.*is "n"$/,
      mend: /^printf .* >>\S+; cd \S+ && docker compose up -d$/,
      arrange: ({ host }) => host.mailcow.configure({ SKIP_LETS_ENCRYPT: "n" }),
    },
    {
      what: "the same where compose is docker-compose",
      point: "mailcow",
      state: "error",
      words: /would overwrite the certificate.*is "n"$/,
      mend: /^printf .* >>\S+; cd \S+ && docker-compose up -d$/,
      arrange: ({ host }) =>
        host.mailcow.configure({ SKIP_LETS_ENCRYPT: "n", DOCKER_COMPOSE_VERSION: "standalone" }),
    },
    {
      what: "no mailcow.conf",
      point: "mailcow",
      state: "error",
      words: /mailcow\.conf" does not exist/,
      mend: /^name mailcow's directory with deploy\.mailcow in the config file$/,
      arrange: ({ host }) => host.configure({ mailcow: `${host.root}/none` }),
      follow: ({ host }) => host.configure({}),
    },
    {
      what: "an acme-mailcow that does not know it yet",
      point: "acme-mailcow",
      state: "warning",
      words: /without SKIP_LETS_ENCRYPT=y/,
      mend: /^cd \S+ && docker compose up -d acme-mailcow$/,
      arrange: (host) => {
        docker(host).acme = "n";
        up(host, / up -d acme-mailcow$/, () => docker(host).acme = "y");
      },
    },
    ...([
      ["paused", "warning", /^is paused$/, / unpause postfix-mailcow$/],
      ["exited", "warning", /^was stopped$/, / up -d postfix-mailcow$/],
      ["restarting", "error", /ends by itself/, / up -d --force-recreate postfix-mailcow$/],
    ] as const).map(([state, severity, words, command]): Trouble<DeployHost> => ({
      what: `a container that is ${state}`,
      point: "postfix-mailcow",
      state: severity,
      words,
      mend: command,
      arrange: (host) => {
        docker(host).containers.postfix = state;
        up(host, command, () => docker(host).containers.postfix = undefined);
      },
    })),
    {
      what: "a service that has no container",
      point: "postfix-mailcow",
      state: "error",
      words: /^has no container$/,
      mend: /^cd \S+ && docker compose up -d postfix-mailcow$/,
      arrange: ({ host }) => {
        const others = ["dovecot-mailcow", "nginx-mailcow"].map((Service) =>
          JSON.stringify({ ID: Service, Service, State: "running" })
        );
        host.docker.intercept = ({ argv }) => {
          const call = argv.join(" ");
          if (call.endsWith(" up -d postfix-mailcow")) {
            host.docker.intercept = () => undefined;
            return { code: 0 };
          }
          return / ps --all /.test(call) ? { code: 0, stdout: others.join("\n") } : undefined;
        };
      },
    },
    {
      what: "an engine that is down",
      point: "docker",
      state: "error",
      words: /could not be asked: .*Cannot connect to the Docker daemon/,
      mend: /systemctl start docker/,
      arrange: ({ host }) => host.docker.trouble = "engine-down",
      follow: ({ host }) => host.docker.trouble = "none",
    },
    {
      what: "a staging that others can write to",
      point: "staging",
      state: "warning",
      words: /^others can write to the staging directory ".*" \(mode 0777\)$/,
      mend: /^chmod 700 /,
      arrange: ({ host }) => Deno.chmod(host.staging, 0o777),
    },
    {
      what: "no staging",
      point: "staging",
      state: "error",
      words: /does not exist$/,
      mend: /^install -d -m 700 /,
      arrange: ({ host }) => Deno.remove(host.staging, { recursive: true }),
    },
    {
      what: "no staging where nobody was let in either",
      point: "staging",
      state: "error",
      words: /"\/home\/certsync\/incoming" does not exist$/,
      mend: /^certsync setup deploy --config \S+ --authorized-key '…' \| sh$/,
      arrange: ({ host }) => host.configure({ staging: undefined }),
      follow: ({ host }) => host.configure({}),
    },
    {
      what: "names in staging that cannot be typed",
      point: "staging",
      state: "warning",
      words: /^holds what nobody asked for: "junk\\u001b\[31m", "planted"$/,
      mend:
        /^rm -r \S+\/planted"; find \S+ -mindepth 1 -maxdepth 1 -inum \d+ -exec rm -r \{\} \+; or /,
      arrange: async ({ host }) => {
        await Deno.mkdir(`${host.staging}/junk\x1b[31m/below`, { recursive: true });
        await Deno.symlink("/etc", `${host.staging}/planted`);
      },
      follow: ({ type }, mend) => type(mend.replace(/; or .*$/, "")),
    },
    {
      what: "a run that refused, and nothing that went well after it",
      point: `last deploy of ${NAME}`,
      state: "error",
      words: /^refused at \d{4}-\S+Z: .*expired/,
      mend: /^run it again, and do what it says: certsync deploy --config \S+$/,
      arrange: async ({ host }) => {
        equal((await host.deploy()).code, 0);
        await host.stage(expired);
        equal((await host.deploy()).code, 1);
      },
      follow: async ({ host }) => {
        await host.stage(fresh);
        const result = await host.deploy(["--json"]);
        deepEqual([result.code, result.json().result], [0, "unchanged"]);
      },
    },
    {
      what: "names in staging that nobody asked for",
      point: "staging",
      state: "warning",
      words: /^holds what nobody asked for: "planted", "shop\.example\.net"$/,
      mend: /^rm -r "\S+\/planted" "\S+\/shop\.example\.net"; or name it in also/,
      arrange: async ({ host }) => {
        await Deno.mkdir(`${host.staging}/shop.example.net`);
        await Deno.symlink("/etc", `${host.staging}/planted`);
      },
      follow: ({ type }, mend) => type(mend.replace(/; or .*$/, "")),
    },
    {
      what: "more names in staging than anybody would read",
      point: "staging",
      state: "warning",
      words: /^holds what nobody asked for: ("n\d+", ){19}"n\d+" and more$/,
      mend: /^rm -r /,
      arrange: async ({ host }) => {
        for (let n = 10; n < 35; n++) await Deno.writeTextFile(`${host.staging}/n${n}`, "");
      },
      follow: async ({ type, status }, mend) => {
        await type(mend.replace(/; or .*$/, ""));
        await type(pointOf(await status(), "staging").mend?.replace(/; or .*$/, "") ?? "");
      },
    },
    {
      what: "a path unit that watches elsewhere",
      point: "mailcow-cert-deploy.path",
      state: "warning",
      words: /^does not watch \S+\/incoming, but \/home\/certsync\/incoming$/,
      mend: /^certsync setup deploy .* \| sh$/,
      arrange: ({ systemctl }) =>
        systemctl.set("mailcow-cert-deploy.path", WATCHED("/home/certsync/incoming")),
      follow: ({ systemctl, host }) =>
        systemctl.set("mailcow-cert-deploy.path", WATCHED(host.staging)),
    },
  ]);
  ok(await Deno.stat("/etc/passwd"), "what a planted link leads to is still there");
});

Deno.test("a program that is missing is named with its package, and is well once it is there", async () => {
  await using host = await npmHost();
  await using dir = await tempDir();
  await Deno.mkdir(host.scene.state, { mode: 0o700 });
  await Deno.writeTextFile(`${host.scene.state}/sandbox`, "none\n");
  for (const name of ["ssh", "openssl", "ssh-keygen", "ssh-add"] as const) {
    await Deno.symlink(need(name), `${dir.path}/${name}`);
  }
  const ask = async () =>
    (await certsync(["status", "--offline", "--json", "--config", host.scene.configFile], {
      env: { PATH: dir.path },
    })).json();
  const before = await ask();
  deepEqual(pointOf(before, "rsync"), {
    point: "rsync",
    state: "error",
    words: "rsync is not installed on this host",
    mend: "install the package rsync",
  });
  match(pointOf(before, "mailcow-cert-push.timer").words, /^systemd does not run here/);
  match(pointOf(before, "mailcow-cert-push.timer").mend ?? "", /^have it run twice a day /);
  const [verify] = unitPoints(VERIFY, null);
  match(verify?.mend ?? "", /^have it run daily by .*: certsync verify$/);
  equal(
    before.points.some(({ point }: Point) => point === "mailcow-cert-push.service"),
    false,
    "no unit is to blame for what was run by hand",
  );
  await Deno.symlink(need("rsync"), `${dir.path}/rsync`);
  equal(pointOf(await ask(), "rsync").state, "ok");
});

Deno.test("a local target at fault is a point of its own, and needs no ssh", async () => {
  await using host = await npmHost();
  const { scene, systemctl } = host;
  equal((await scene.push()).code, 0);
  const local = `${scene.path}/local`;
  await scene.configure({ to: local });
  await systemctl.set("mailcow-cert-push.path", WATCHED(`${scene.npm.root}/renewal`));
  for (const args of [[], ["--offline"]]) {
    const report = await host.status(...args);
    const bad = pointOf(report, `target ${local}`);
    deepEqual([bad.state, bad.mend], ["error", `make it: install -d -m 700 "${local}"`]);
    equal(pointOf(report, `source of ${NAME}`).state, "ok");
    equal(pointOf(report, "config").state, "ok");
    equal(report.points.some(({ point }) => point === "ssh"), false);
    deepEqual(report.history.map(({ outcome }) => outcome), ["pushed"]);
  }
  await host.type(`install -d -m 700 ${local}`);
  equal((await host.status()).code, 0);
});

Deno.test("a mail host without docker is told of that once", async () => {
  await using mail = await deployHost();
  await using dir = await tempDir();
  await Deno.symlink(need("openssl"), `${dir.path}/openssl`);
  const { points }: Report = (await certsync(["status", "--json", "--config", mail.host.config], {
    env: { PATH: dir.path },
  })).json();
  const told = points.filter(({ words }) => words.includes("docker is not installed"));
  deepEqual(told.map(({ point, state }) => [point, state]), [["docker", "error"]]);
  match(told[0]?.mend ?? "", /^install the package docker-ce-cli/);
});

Deno.test("a config that cannot be right for its role is a point, and others that can write to it another", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/c.yaml`;
  const ask = async () =>
    (await certsync(["status", "--offline", "--json", "--config", file])).json();
  await Deno.writeTextFile(file, `domain: ${NAME}\npush: {port: 22}\n`);
  const missing = pointOf(await ask(), "config");
  deepEqual([missing.state, missing.words.includes("no target")], ["error", true]);
  equal(missing.mend, "set push.to there");

  await Deno.writeTextFile(file, `domain: ${NAME}\npush: {to: "u@h:/d/"}\n`);
  await Deno.chmod(file, 0o666);
  const exposed = pointOf(await ask(), "config");
  deepEqual([exposed.state, exposed.mend], [
    "warning",
    `chown root "${file}"; chmod go-w "${file}"`,
  ]);
  await new Deno.Command("sh", { args: ["-c", exposed.mend ?? ""] }).output();
  equal(pointOf(await ask(), "config").state, "ok");
});

Deno.test("status tells the last five runs of each command of this host", async () => {
  await using host = await npmHost();
  const { scene } = host;
  await Deno.mkdir(scene.state, { mode: 0o700 });
  const lines = Array.from({ length: 7 }, (_, n) =>
    JSON.stringify({
      ...{ time: `2026-11-1${n}T03:00:00Z`, outcome: "refused", name: NAME, old: null, new: null },
      ...{ error: `because of ${n}`, times: 2, last: `2026-11-1${n}T15:00:00Z` },
    }));
  await Deno.writeTextFile(`${scene.state}/history`, lines.map((line) => `${line}\n`).join(""));
  equal((await scene.push()).code, 0);
  const { history, stdout } = await host.status("--offline");
  deepEqual(history.map(({ command, outcome, times }) => [command, outcome, times]), [
    ...Array(4).fill(["push", "refused", 2]),
    ["push", "pushed", undefined],
  ]);
  doesNotMatch(stdout, /because of [0-2]/);
  const text = await certsync(["status", "--offline", "--config", scene.configFile]);
  match(
    text.stdout,
    /^what happened last:\n {2}2026-11-13T03:00:00Z, 2 times, last 2026-11-13T15:00:00Z push: refused mail\.example\.org: because of 3$/m,
  );
  match(text.stdout, /^ {2}\S+ push: pushed mail\.example\.org [0-9A-F:]{11}$/m);
});

Deno.test("what this user may not see is unknown, with why, and neither well nor wrong", async () => {
  await using host = await npmHost();
  await using mail = await deployHost();
  await using dir = await tempDir();
  equal((await host.scene.push()).code, 0);
  const { push } = JSON.parse(await Deno.readTextFile(host.scene.configFile));
  const closed = `${host.scene.path}/closed`;
  await Deno.mkdir(`${closed}/in`, { recursive: true, mode: 0o700 });
  const { deploy } = JSON.parse(await Deno.readTextFile(mail.host.config));
  const config = `${dir.path}/c.yaml`;
  await Deno.writeTextFile(config, JSON.stringify({ domain: NAME, push, deploy }));
  await Deno.chmod(`${mail.host.mailcow.root}/mailcow.conf`, 0o600);
  // Nobody may enter the checkout, perhaps, nor the directories of the kit.
  for (const path of [dir.path, host.scene.path, mail.host.root]) await Deno.chmod(path, 0o755);
  const binary = `${dir.path}/certsync`;
  await Deno.copyFile(new URL("../dist/certsync", import.meta.url), binary);
  const look = async (expected: string[], cure = "run this as root") => {
    const { stdout, stderr } = await new Deno.Command("setpriv", {
      args: [
        ...["--reuid=65534", "--regid=65534", "--clear-groups", binary],
        ...["status", "--json", "--config", config],
      ],
    }).output();
    const report: Report = JSON.parse(new TextDecoder().decode(stdout));
    const dark = report.points.filter(({ state }) => state === "unknown");
    deepEqual(dark.map(({ point }) => point), expected);
    ok(dark.every(({ mend }) => mend === cure), JSON.stringify(dark));
    deepEqual(report.points.filter(({ state }) => state === "error"), []);
    doesNotMatch(new TextDecoder().decode(stderr), /bug|\bat /);
  };
  await look(["source", "ssh key", "targets", "mailcow", "staging"]);
  const local = { ...push, to: `${closed}/in` };
  const beyond = { ...deploy, staging: `${closed}/incoming` };
  await Deno.writeTextFile(config, JSON.stringify({ domain: NAME, push: local, deploy: beyond }));
  await look(["source", `target ${closed}/in`, "mailcow", "staging"]);
  const live = `${dir.path}/live`;
  await Deno.mkdir(`${live}/npm-5`, { recursive: true });
  await Deno.writeTextFile(`${live}/npm-5/fullchain.pem`, fresh.fullchainPem, { mode: 0o600 });
  const named = { live, source: "npm-5", to: `${dir.path}/`, state: `${dir.path}/state` };
  await Deno.writeTextFile(config, JSON.stringify({ domain: NAME, push: named }));
  await look([`source of ${NAME}`], "live/ and archive/ are 0700: run this as root");
});

Deno.test("status fails where something is wrong, or where nothing at all could be looked at", () => {
  const ending = (states: State[], error?: string) =>
    endingOf({
      ...emptyStatusReport(),
      points: states.map((state) => ({ point: "x", state, words: "y" })),
      ...(error !== undefined && { error }),
    });
  equal(ending(["ok", "note"]), "ok");
  equal(ending(["ok", "unknown"]), "ok");
  equal(ending(["unknown", "unknown"]), "failed");
  equal(ending(["ok", "warning"]), "failed");
  equal(ending(["error", "ok"]), "failed");
  equal(ending(["ok"], "it broke"), "failed");
});

Deno.test("what this user may not do is unknown, by whatever system call", () => {
  const stateFor = (cause?: unknown) => failedPoint("x", new Failure("no", { cause })).state;
  const refusal = (code: string) => Object.assign(new Error("refused"), { code });
  for (const code of ["EACCES", "EPERM"]) {
    equal(stateFor(refusal(code)), "unknown");
    equal(stateFor(new Failure("in between", { cause: refusal(code) })), "unknown");
  }
  equal(stateFor(refusal("EIO")), "error");
  equal(stateFor(), "error");
});
