// A state directory: certsync touches its own files in it, and names what somebody else put there.

import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, chown, symlink } from "node:fs/promises";
import { holdState, readState, readStateOrNothing } from "../lib/files/state.ts";
import { certsync } from "./kit/certsync.ts";
import { run } from "./kit/run.ts";
import { runContext } from "./kit/run_context.ts";
import { tempDir } from "./kit/temp_dir.ts";

const context = runContext();

const file = (path: string) => Deno.writeTextFile(path, "x", { mode: 0o600 });
const directory = (path: string, mode = 0o700) => Deno.mkdir(path, { mode, recursive: true });

interface Case {
  make(state: string, elsewhere: string): Promise<unknown>;
  /** What must be gone. */
  goes?: string;
  /** What must stay, and be named. */
  stays?: string;
}

const cases: Record<string, Case> = {
  "what push left": {
    make: async (state) => {
      await directory(`${state}/scratch/shop.example.net`);
      for (const name of ["fullchain.pem", "privkey.pem"]) {
        await file(`${state}/scratch/${name}`);
        await file(`${state}/scratch/shop.example.net/${name}`);
      }
    },
    goes: "scratch",
  },
  "what openssl was to verify": {
    make: async (state) => {
      await directory(`${state}/scratch`);
      await file(`${state}/scratch/chain.pem`);
    },
    goes: "scratch",
  },
  "an empty scratch": { make: (state) => directory(`${state}/scratch`), goes: "scratch" },
  "somebody's scratch": {
    make: async (state) => {
      await directory(`${state}/scratch`);
      await file(`${state}/scratch/thesis.tex`);
    },
    stays: "scratch/thesis.tex",
  },
  "somebody's scratch beside what push left": {
    make: async (state) => {
      await directory(`${state}/scratch/a/b`);
      await file(`${state}/scratch/privkey.pem`);
    },
    stays: "scratch/a/b",
  },
  "a scratch that others can look into": {
    make: (state) => directory(`${state}/scratch`, 0o755),
    stays: "scratch",
  },
  "a scratch of another user": {
    make: async (state) => {
      await directory(`${state}/scratch`);
      await chown(`${state}/scratch`, 65534, 65534);
    },
    stays: "scratch",
  },
  "a scratch that is a link": {
    make: async (state, elsewhere) => {
      await file(`${elsewhere}/privkey.pem`);
      await symlink(elsewhere, `${state}/scratch`);
    },
    stays: "scratch",
  },
  "a scratch that is a file": { make: (state) => file(`${state}/scratch`), stays: "scratch" },
  "a link in scratch": {
    make: async (state, elsewhere) => {
      await directory(`${state}/scratch`);
      await symlink(elsewhere, `${state}/scratch/privkey.pem`);
    },
    stays: "scratch/privkey.pem",
  },
  "a temporary file": {
    make: (state) => file(`${state}/.certsync-loaded`),
    goes: ".certsync-loaded",
  },
  "a temporary link": {
    make: (state, elsewhere) => symlink(elsewhere, `${state}/.certsync-loaded`),
    goes: ".certsync-loaded",
  },
  "a temporary FIFO": {
    make: (state) => run("mkfifo", [`${state}/.certsync-x`]),
    goes: ".certsync-x",
  },
  "a temporary directory": {
    make: (state) => directory(`${state}/.certsync-x`),
    goes: ".certsync-x",
  },
  "a full temporary directory": {
    make: async (state) => {
      await directory(`${state}/.certsync-x`);
      await file(`${state}/.certsync-x/mine`);
    },
    stays: ".certsync-x",
  },
  "a lock that is a FIFO": { make: (state) => run("mkfifo", [`${state}/lock`]), stays: "lock" },
  "a lock that is a link": {
    make: (state, elsewhere) => symlink(`${elsewhere}/lock`, `${state}/lock`),
    stays: "lock",
  },
  "a lock with a second name": {
    make: async (state, elsewhere) => {
      await file(`${state}/lock`);
      await Deno.link(`${state}/lock`, `${elsewhere}/lock`);
    },
    stays: "lock",
  },
  "a lock that is a directory": { make: (state) => directory(`${state}/lock`), stays: "lock" },
  "a lock of another user": {
    make: async (state) => {
      await file(`${state}/lock`);
      await chown(`${state}/lock`, 65534, 65534);
    },
    stays: "lock",
  },
};

const places: Record<string, (state: string, elsewhere: string) => Promise<unknown>> = {
  "previous": (state) => chown(`${state}/previous`, 65534, 65534),
  "previous/a": (state) =>
    directory(`${state}/previous/a`).then(() => chmod(`${state}/previous/a`, 0o777)),
  "previous/cert.pem": (state, elsewhere) => symlink(elsewhere, `${state}/previous/cert.pem`),
  "previous/key.pem": async (state, elsewhere) => {
    await file(`${elsewhere}/key`);
    await Deno.link(`${elsewhere}/key`, `${state}/previous/key.pem`);
  },
  "loaded": (state) => run("mkfifo", [`${state}/loaded`]),
  "unseen": (state) => directory(`${state}/unseen`),
};

Deno.test("deploy names what somebody put into its state directory, and touches nothing", async () => {
  for (const [name, plant] of Object.entries(places)) {
    await using dir = await tempDir();
    const [mailcow, state, elsewhere] = ["mailcow", "state", "elsewhere"].map((name) =>
      `${dir.path}/${name}`
    ) as [string, string, string];
    await directory(`${mailcow}/data/assets/ssl`);
    await Deno.writeTextFile(
      `${mailcow}/mailcow.conf`,
      "MAILCOW_HOSTNAME=mail.example.org\nSKIP_LETS_ENCRYPT=y\n",
    );
    const leftover = `${mailcow}/data/assets/ssl/.certsync-key.pem`;
    for (const path of [`${state}/previous`, elsewhere]) await directory(path);
    await file(leftover);
    await plant(state, elsewhere);
    await Deno.writeTextFile(
      `${dir.path}/config.yaml`,
      JSON.stringify({ deploy: { mailcow, state, staging: `${dir.path}/in` } }),
    );
    const result = await certsync(["deploy", "--config", `${dir.path}/config.yaml`]);
    equal(result.code, 1, name);
    match(
      result.stderr,
      new RegExp(`^ERROR: something that certsync did not make .*/${name}"`, "m"),
    );
    ok(existsSync(leftover), name);
    await Deno.lstat(`${state}/${name}`);
  }
});

Deno.test("a state directory that mailcow serves, or where push writes, is a usage error", async () => {
  await using dir = await tempDir();
  const [mailcow, staging] = [`${dir.path}/mailcow`, `${dir.path}/home/incoming`];
  await directory(`${mailcow}/data/assets/ssl`);
  await directory(staging);
  await symlink(`${mailcow}/data/assets/ssl`, `${dir.path}/link`);
  const cases = {
    mailcow: [
      `${mailcow}/data/assets/ssl`,
      `${mailcow}/data/assets/ssl/state`,
      `${dir.path}/link/x`,
    ],
    staging: [staging, `${staging}/state`, `${dir.path}/home`],
  };
  for (const [key, states] of Object.entries(cases)) {
    for (const state of states) {
      await Deno.writeTextFile(
        `${dir.path}/config.yaml`,
        JSON.stringify({ deploy: { mailcow, state, staging } }),
      );
      const result = await certsync(["deploy", "--config", `${dir.path}/config.yaml`]);
      equal(result.code, 2, result.stderr);
      match(result.stderr, new RegExp(`^ERROR: deploy\\.state .*deploy\\.${key}.*not apart`, "m"));
    }
  }
  deepEqual([...Deno.readDirSync(`${mailcow}/data/assets/ssl`), ...Deno.readDirSync(staging)], []);
});

Deno.test("what certsync made itself goes from a state directory, and nothing else", async () => {
  for (const [what, { make, goes, stays }] of Object.entries(cases)) {
    await using dir = await tempDir();
    const [state, elsewhere] = [`${dir.path}/state`, `${dir.path}/elsewhere`];
    await directory(state);
    await directory(elsewhere);
    await file(`${state}/somebody's`);
    await make(state, elsewhere);
    const elsewhereBefore = [...Deno.readDirSync(elsewhere)];
    if (stays === undefined) {
      using _lock = await holdState(state, context);
      ok(!existsSync(`${state}/${goes}`), what);
    } else {
      await rejects(holdState(state, context), (error: Error) => {
        match(error.message, new RegExp(`(did not make|in the way).*/${stays}"$`), what);
        return true;
      });
      await Deno.lstat(`${state}/${stays}`);
    }
    deepEqual([...Deno.readDirSync(elsewhere)], elsewhereBefore, what);
    ok(existsSync(`${state}/somebody's`), what);
  }
});

Deno.test("a planted link or another user's file is not taken for what certsync remembers", async () => {
  await using dir = await tempDir();
  await file(`${dir.path}/elsewhere`);
  await symlink(`${dir.path}/elsewhere`, `${dir.path}/link`);
  await symlink("/nonexistent", `${dir.path}/dangling`);
  await file(`${dir.path}/others`);
  await chown(`${dir.path}/others`, 65534, 65534);
  await run("mkfifo", [`${dir.path}/fifo`]);
  for (const name of ["link", "dangling", "others"]) {
    for (const read of [readState, readStateOrNothing]) {
      throws(() => read(dir.path, name), /that certsync did not make .*: ".*"$/, name);
    }
  }
  throws(() => readState(dir.path, "fifo"), /is not a regular file/);
});

Deno.test("verify ends with 3 and a message where it cannot write its output", async () => {
  await using dir = await tempDir();
  const places: Record<string, { make(): Promise<unknown>; output: string; says: RegExp }> = {
    "a full directory in the way": {
      make: async () => {
        await directory(`${dir.path}/.certsync-a.prom`);
        await file(`${dir.path}/.certsync-a.prom/x`);
      },
      output: "a.prom",
      says: /^ERROR: a directory is in the way: ".*\/\.certsync-a\.prom"\nhint: see what/m,
    },
    "too long a name": {
      make: () => Promise.resolve(),
      output: "x".repeat(250),
      says: /^ERROR: cannot write ".*": the name is too long$/m,
    },
    "a file for a directory": {
      make: () => file(`${dir.path}/file`),
      output: "file/b.prom",
      says: /^ERROR: cannot write ".*": a part of the path is not a directory$/m,
    },
    "links in a ring": {
      make: () => symlink("ring", `${dir.path}/ring`),
      output: "ring/c.prom",
      says: /^ERROR: cannot write ".*": its symbolic links lead nowhere$/m,
    },
    "a directory where the file belongs": {
      make: () => directory(`${dir.path}/d.prom/x`),
      output: "d.prom",
      says: /^ERROR: cannot write ".*\/d\.prom": it is a directory$/m,
    },
  };
  await Promise.all(
    Object.entries(places).map(async ([what, { make, output, says }]) => {
      await make();
      const path = `${dir.path}/${output}`;
      const result = await certsync(["verify", "--format", "prometheus", "--output", path]);
      equal(result.code, 3, what);
      match(result.stderr, says, what);
      ok(!/^ +at |bug in certsync/m.test(result.stderr), result.stderr);
    }),
  );
  await directory(`${dir.path}/.certsync-e.prom`);
  const args = ["verify", "--format", "prometheus", "--output", `${dir.path}/e.prom`];
  await certsync(args);
  match(await Deno.readTextFile(`${dir.path}/e.prom`), /^certsync_status/m);
});

Deno.test("a run without PATH knows the usual one, and verify says 3 where it fails", async () => {
  for (const [command, code] of [["verify", 3], ["push", 2], ["deploy", 1]] as const) {
    const binary = new URL("../dist/certsync", import.meta.url).pathname;
    const result = await new Deno.Command(binary, { args: [command], clearEnv: true }).output();
    equal(result.code, code);
    match(new TextDecoder().decode(result.stderr), /^ERROR: [^\n]+\nhint: /);
  }
});

Deno.test("who else can write a config file or its directory is told, and a mode mends it", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/config.yaml`;
  const warnings = async () => {
    const { stderr } = await certsync(["find-npm-dir", "--config", path, "--json"]);
    return stderr.split("\n").filter((line) => /^WARNING: .*config|^WARNING: others/.test(line));
  };
  await Deno.writeTextFile(path, "push: {live: [/nonexistent]}\n");
  await chmod(path, 0o644);
  deepEqual(await warnings(), []);
  await chmod(path, 0o666);
  match((await warnings()).join(), /^WARNING: others can write to ".*config\.yaml" \(mode 0666\)/);
  await run("chmod", ["go-w", path]);
  deepEqual(await warnings(), []);
  await chown(path, 65534, 65534);
  match((await warnings()).join(), /^WARNING: ".*config\.yaml" belongs to uid 65534/);
  await chown(path, 0, 0);
  await chmod(dir.path, 0o777);
  match((await warnings()).join(), /^WARNING: others can write to "[^"]*" \(mode 0777\)/);
  await chmod(dir.path, 0o1777);
  deepEqual(await warnings(), []);
});
