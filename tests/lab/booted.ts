// A host with a real systemd, booted in a container: certsync and its units are installed on it.

import { fileURLToPath } from "node:url";
import { type Output, run, tryRun } from "../kit/run.ts";
import { until } from "./wire.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export interface Booted extends AsyncDisposable {
  /** Runs a program on it and gives its output; throws its own words if it fails. */
  run(...command: string[]): Promise<string>;
  tryRun(...command: string[]): Promise<Output>;
  write(path: string, text: string, mode?: string): Promise<void>;
  /** Starts a oneshot unit and waits for its end, whatever that is. */
  start(unit: string): Promise<UnitRun>;
  /** The last run of a unit, as journald has it; null before the first one ended. */
  lastRun(unit: string): Promise<UnitRun | null>;
  /** What systemctl says of it: "failed", "inactive". */
  state(unit: string): Promise<string>;
  /** Shuts it down, and boots it again once that is done. */
  reboot(meanwhile: () => Promise<unknown>): Promise<void>;
}

export interface BootOptions {
  /** Where certsync lies there. */
  binary?: string;
  /** Debian's newest systemd (257), instead of that of Debian 12 (252). */
  isNewest?: boolean;
  /** As a container without nesting does: no mount may be made a slave; or no namespace is made. */
  refuses?: "mounts" | "namespaces";
}

export interface UnitRun {
  /** Another one for each run. */
  invocation: string;
  isSuccess: boolean;
  /** What the unit's programs said. */
  journal: JournalEntry[];
}

export interface JournalEntry {
  message: string;
  /** As syslog numbers them: 3 is err, 6 info. */
  priority: number;
}

/** With the units on it, none of them enabled. */
export async function boot(
  name: string,
  /** Directories and files that it shares with the lab, HOST:CONTAINER. */
  volumes: readonly string[] = [],
): Promise<Booted> {
  const host = await bootFresh(name, volumes);
  await run("docker", ["cp", `${here("../../systemd")}/.`, `${nameOf(name)}:/etc/systemd/system/`]);
  const tell = ["/etc/systemd/system/tell-alert", "/usr/local/lib/certsync/tell-alert"];
  await host.run("install", "-D", "-m", "755", ...tell);
  await host.run("systemctl", "daemon-reload");
  return host;
}

const nameOf = (name: string) => `certsync-lab-${name}`;

/** With nothing but the binary on it. */
export async function bootFresh(
  name: string,
  volumes: readonly string[] = [],
  { binary = "/usr/local/bin/certsync", isNewest, refuses }: BootOptions = {},
): Promise<Booted> {
  const container = nameOf(name);
  const profile = refuses === undefined ? "unconfined" : await profileWithout(refuses);
  const dispose = async () => {
    await tryRun("docker", ["rm", "--force", "--volumes", container]);
  };
  await run("docker", [
    ...["run", "--detach", "--name", container, "--hostname", name, "--network", "host"],
    // What Docker would withhold and the units of push and verify have, on a host of its own.
    ...["--cap-add", "DAC_READ_SEARCH"],
    ...["--cap-add", "SYS_ADMIN", "--security-opt", `seccomp=${profile}`, "--cgroupns", "host"],
    ...["--security-opt", "apparmor=unconfined", "--tmpfs", "/run:exec", "--tmpfs", "/run/lock"],
    ...["--tmpfs", "/tmp", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"],
    ...["--volume", `${here("../../dist/certsync")}:${binary}:ro`],
    ...volumes.flatMap((volume) => ["--volume", volume]),
    ...isNewest
      // It takes the older control groups only where it is told so, which a container does by arguments.
      ? ["certsync-lab-newest", "/sbin/init", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
      : ["certsync-lab", "/sbin/init"],
  ]);
  const onIt = (...command: string[]) => tryRun("docker", ["exec", container, ...command]);
  const must = (...command: string[]) => run("docker", ["exec", container, ...command]);

  // Not asked of systemd, which forgets a unit that has done its work.
  async function lastRun(unit: string): Promise<UnitRun | null> {
    await must("journalctl", "--sync");
    const lines = await must("journalctl", "--output=json", `--unit=${unit}`);
    const entries = lines.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    const ends = entries.filter(({ JOB_RESULT, JOB_TYPE }) => JOB_RESULT && JOB_TYPE === "start");
    const end = ends.at(-1);
    if (end === undefined) return null;
    const invocation: string = end.INVOCATION_ID;
    const previousEnd = entries.indexOf(ends.at(-2));
    return {
      invocation,
      isSuccess: end.JOB_RESULT === "done",
      journal: entries
        .filter(({ _SYSTEMD_UNIT, _SYSTEMD_INVOCATION_ID = invocation }, i) =>
          // Of a program that was gone before journald looked at it, only the unit is known.
          _SYSTEMD_UNIT === unit && _SYSTEMD_INVOCATION_ID === invocation && i > previousEnd
        )
        .map(({ MESSAGE, PRIORITY }) => ({
          message: String(MESSAGE),
          priority: Number(PRIORITY),
        })),
    };
  }

  const isUp = () =>
    until(async () => {
      const { stdout } = await onIt("systemctl", "is-system-running");
      return /running|degraded/.test(stdout) ? [] : [`${name} is ${stdout.trim() || "silent"}`];
    }, 40_000);
  try {
    await isUp();
  } catch (error) {
    await dispose();
    throw error;
  }

  return {
    run: must,
    tryRun: onIt,
    write: async (path, text, mode = "600") => {
      await run("docker", [
        ...["exec", "--interactive", container, "sh", "-c"],
        ...['mkdir -p "$(dirname "$1")" && umask 077 && cat >"$1" && chmod "$2" "$1"', "sh"],
        ...[path, mode],
      ], { stdin: text });
    },
    start: async (unit) => {
      const before = await lastRun(unit);
      await onIt("systemctl", "start", unit);
      // journald reads what the programs said and what systemd said in no certain order.
      let seen: UnitRun | null = null;
      await until(async () => {
        const [last, previous] = [await lastRun(unit), seen];
        seen = last;
        const isWhole = last !== null && last.invocation !== before?.invocation &&
          JSON.stringify(last) === JSON.stringify(previous);
        return isWhole ? [] : [`${unit} has left no run in the journal`];
      });
      if (seen === null) throw new Error(`${unit} left nothing in the journal`);
      return seen;
    },
    lastRun,
    state: async (unit) => (await onIt("systemctl", "is-active", unit)).stdout.trim(),
    reboot: async (meanwhile) => {
      // systemd in a container shuts down by this signal.
      await run("docker", ["kill", "--signal", "SIGRTMIN+3", container]);
      await run("docker", ["wait", container]);
      await meanwhile();
      await run("docker", ["start", container]);
      await isUp();
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** A profile under which systemd boots, and can lock no service in: it says so, or says nothing. */
async function profileWithout(what: "mounts" | "namespaces"): Promise<string> {
  const [MS_SLAVE, EPERM, EACCES] = [1 << 19, 1, 13];
  const path = await Deno.makeTempFile({ suffix: ".json" });
  const args = [{ index: 3, value: MS_SLAVE, valueTwo: MS_SLAVE, op: "SCMP_CMP_MASKED_EQ" }];
  const refused = what === "mounts"
    ? { names: ["mount"], errnoRet: EACCES, args }
    : { names: ["unshare"], errnoRet: EPERM };
  await Deno.writeTextFile(
    path,
    JSON.stringify({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ ...refused, action: "SCMP_ACT_ERRNO" }],
    }),
  );
  return path;
}
