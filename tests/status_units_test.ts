// What status sees of how the units are set up, against what the config file asks of them; where it differs,
// the way out that it gives is followed.

import { deepEqual, equal, match } from "node:assert/strict";
import { unitPoints } from "../lib/status/unit_points.ts";
import { certsync } from "./kit/certsync.ts";
import { fakeSystemctl, type Properties } from "./kit/fake_systemctl.ts";
import { run } from "./kit/run.ts";
import { setup } from "./kit/setup_script.ts";
import { tempDir } from "./kit/temp_dir.ts";

const NAME = "mail.example.org";
const STANDARD = "/etc/certsync/config.yaml";
const startOf = (argv: string) => `{ path=certsync ; argv[]=${argv} ; ignore_errors=no ; pid=0 }`;

interface Point {
  point: string;
  state: string;
  words: string;
  mend?: string;
}

type Services = Record<"push" | "deploy", Properties>;

/** One machine, set up for a config file that names other places than the standard ones. */
async function oneMachine() {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await tempDir("/var/lib")); // no /tmp, which setup refuses
  const systemctl = stack.use(await fakeSystemctl());
  for (const name of ["incoming", "push", "deploy", "mailcow", "le/live", "le/renewal"]) {
    await Deno.mkdir(`${path}/${name}`, { recursive: true, mode: 0o700 });
  }
  const config = `${path}/config.yaml`;
  await Deno.writeTextFile(
    config,
    `domain: ${NAME}
push: {to: ${path}/incoming/, state: ${path}/push, live: ${path}/le/live}
deploy: {mailcow: ${path}/mailcow, staging: ${path}/incoming, state: ${path}/deploy, dane: "off"}
`,
  );
  const watches = { push: `${path}/le/renewal`, deploy: `${path}/incoming` };

  /** As the script of setup leaves the units: their files, and what it writes beside them. */
  async function setUp(line: string): Promise<void> {
    const [, words = ""] = /^certsync setup (.*) \| sh$/.exec(line) ?? [];
    const { fed } = await setup(words.replaceAll('"', "").split(" "));
    for (const command of ["push", "deploy"] as const) {
      const service = `mailcow-cert-${command}.service`;
      const text = `${fed(`unit ${service}`)}\n${fed(`drop_in ${service}`)}`;
      const values = (name: string) =>
        Array.from(text.matchAll(new RegExp(`^${name}=(.+)$`, "gm")), ([, value = ""]) => value);
      await systemctl.set(service, {
        ExecStart: startOf(values("ExecStart").at(-1) ?? ""),
        ProtectSystem: values("ProtectSystem").at(-1) ?? "",
        ReadWritePaths: values("ReadWritePaths").join(" "),
        StateDirectory: values("StateDirectory").join(" "),
        StartLimitIntervalUSec: values("StartLimitIntervalSec").at(-1) ?? "10s",
        DropInPaths: `/etc/systemd/system/${service}.d/certsync-setup.conf`,
      });
      await systemctl.set(`mailcow-cert-${command}.timer`, {});
      await systemctl.set(`mailcow-cert-${command}.path`, {
        Paths: [`${watches[command]} (PathChanged)`],
      });
    }
  }
  await setUp(`certsync setup local --config ${config} | sh`);

  const owned = stack.move();
  return {
    path,
    config,
    systemctl,
    setUp,
    /** What is not well of the units. */
    async told(args = ["--config", config]): Promise<Point[]> {
      const { json } = await certsync(["status", "--offline", "--json", ...args], {
        path: systemctl.bin,
      });
      const points: Point[] = json().points;
      return points.filter(({ point, state }) =>
        state !== "ok" && (args.length === 0 || point.startsWith("mailcow-cert-"))
      );
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

type OneMachine = Awaited<ReturnType<typeof oneMachine>>;

/** A service as setup left it, but for that. */
function change({ systemctl, path, config }: OneMachine, changes: Partial<Services>) {
  const places = {
    push: `${path}/push ${path}/incoming`,
    deploy:
      `-/opt/mailcow-dockerized/data/assets/ssl -${path}/mailcow/data/assets/ssl ${path}/deploy`,
  };
  return Promise.all(
    Object.entries(changes).map(([command, properties]) =>
      systemctl.set(`mailcow-cert-${command}.service`, {
        ExecStart: startOf(`certsync ${command} --started --config ${config}`),
        ProtectSystem: "strict",
        ReadWritePaths: places[command as keyof Services],
        StartLimitIntervalUSec: "0",
        ...properties,
      })
    ),
  );
}

Deno.test("a unit that is not set up for what the config says is told, and what is told ends it", async () => {
  await using host = await oneMachine();
  const { path, config } = host;
  deepEqual(await host.told(), []);
  const setups = new RegExp(`^certsync setup local --config "?${config}"? .*\\| sh$`);
  const cases: [what: string, changes: Partial<Services>, told: [string, RegExp][]][] = [
    ["another mailcow", { deploy: { ReadWritePaths: `-/opt/m/data/assets/ssl ${path}/deploy` } }, [
      ["deploy.service", /^may not write to "\S+\/mailcow\/data\/assets\/ssl"$/],
    ]],
    ["another state, and a target", { push: { ReadWritePaths: "" } }, [
      ["push.service", /^may not write to "\S+\/push", "\S+\/incoming\/?"$/],
    ]],
    ["a unit of before", {
      push: {
        ...{ ExecStart: startOf(`certsync push --config ${config}`), ReadWritePaths: "" },
        StartLimitIntervalUSec: "10s",
      },
    }, [
      ["push.service", /^may not write to .*; is of an older version, .*; has a start limit, /],
    ]],
    ["a start limit", { deploy: { StartLimitIntervalUSec: "10s" } }, [
      ["deploy.service", /^has a start limit/],
    ]],
    ["another config", { deploy: { ExecStart: startOf("certsync deploy --started") } }, [
      ["deploy.service", /^runs with "\/etc\/certsync\/config\.yaml", and not with what was asked/],
    ]],
  ];
  for (const [what, changes, expected] of cases) {
    await change(host, changes);
    const told = await host.told();
    deepEqual(
      told.map(({ point, state }) => [point, state]),
      expected.map(([point]) => [`mailcow-cert-${point}`, "warning"]),
      what,
    );
    for (const [i, [, words]] of expected.entries()) match(told[i]?.words ?? "", words);
    const mend = told[0]?.mend ?? "";
    match(mend, setups, what);
    await host.setUp(mend);
    deepEqual(await host.told(), [], what);
  }
});

Deno.test("a unit that may write anywhere, or above where it must, lacks nothing", async () => {
  await using host = await oneMachine();
  await change(host, { push: { ReadWritePaths: host.path }, deploy: { ProtectSystem: "full" } });
  deepEqual(await host.told(), []);
  // Where the machine makes no sandbox, nothing of it holds.
  await Deno.writeTextFile(`${host.path}/push/sandbox`, "none\n", { mode: 0o600 });
  await change(host, { push: { ReadWritePaths: "" } });
  deepEqual((await host.told()).map(({ words }) => /may not write/.test(words)), [false]);
});

Deno.test("what another file makes of a unit is told with that file, since setup leaves it", async () => {
  await using host = await oneMachine();
  const own = "/etc/systemd/system/mailcow-cert-deploy.service.d";
  const all = "/usr/lib/systemd/system/service.d/10-timeout.conf";
  const DropInPaths = `${own}/certsync-setup.conf ${own}/mine.conf ${all}`;
  await change(host, { deploy: { StartLimitIntervalUSec: "1min", DropInPaths } });
  await host.systemctl.set("mailcow-cert-push.path", {
    Paths: ["/somewhere (PathChanged)"],
    DropInPaths: "/etc/systemd/system/mailcow-cert-push.path.d/zz.conf",
  });
  const [push, deploy, ...more] = await host.told();
  deepEqual(more, []);
  match(
    push?.mend ?? "",
    /^see whether \S+\/mailcow-cert-push\.path\.d\/zz\.conf does that, .*; then: certsync /,
  );
  match(deploy?.mend ?? "", new RegExp(`^see whether ${own}/mine\\.conf does that, and take it`));
});

Deno.test("asked without the config file that the units run with, status says which that is, and no more", async () => {
  await using host = await oneMachine();
  const [told, ...more] = await host.told([]);
  deepEqual(more, []);
  deepEqual([told?.point, told?.state], ["config", "warning"]);
  match(
    told?.words ?? "",
    new RegExp(`^the units run with "${host.config}", and not with "${STANDARD}"`),
  );
  const [, line = ""] = /^certsync status (.*)$/.exec(told?.mend ?? "") ?? [];
  deepEqual(await host.told(line.replaceAll('"', "").split(" ")), []);
});

Deno.test("where the alert itself failed, status says that nobody was told, until that is over", async () => {
  await using host = await oneMachine();
  const unit = "mailcow-cert-alert@mailcow-cert-push.service.service";
  await host.systemctl.set(unit, { ActiveState: "failed", Result: "exit-code" });
  const ask = async () => {
    const { json } = await certsync(
      ["status", "--offline", "--json", "--config", host.config],
      { path: host.systemctl.bin },
    );
    const points: Point[] = json().points;
    return points.filter(({ point, state }) => point === "alert" && state === "warning");
  };
  const [told, ...more] = await ask();
  deepEqual(more, []);
  equal(told?.words, `nobody was told of a failure: ${unit} failed itself`);
  const [line = "false"] = /systemctl reset-failed \S+$/.exec(told?.mend ?? "") ?? [];
  await run("sh", ["-c", `${host.systemctl.bin}/${line}`]);
  deepEqual(await ask(), []);
});

Deno.test("a path unit that is enabled and not active is a warning, one that nobody enabled a note", () => {
  const unit = {
    ...{ load: "loaded", active: "inactive", result: "success", exitStatus: 0, ended: null },
    ...{ next: null, watched: ["/in"], dropIns: [], service: null },
  };
  const duty = {
    ...{ role: "deploy", watches: ["/in"], config: STANDARD, writes: [], setup: "" } as const,
    isWithin: () => true,
  };
  for (const [isEnabled, state] of [[true, "warning"], [false, "note"]] as const) {
    const units = new Map([["mailcow-cert-deploy.path", { ...unit, isEnabled }]]);
    const found = unitPoints(duty, units).find(({ point }) => point.endsWith(".path"));
    equal(found?.state, state);
    equal(found?.mend, "systemctl enable --now mailcow-cert-deploy.path");
  }
});
