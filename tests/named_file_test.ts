// What a run with --config tells to type on its own host names that file too.

import { deepEqual, equal } from "node:assert/strict";
import type { ConfigFile } from "../lib/config/config_file.ts";
import { commandsHere, withNamedFile } from "../lib/config/named_file.ts";
import { parsePushTarget } from "../lib/values/push_target.ts";
import { authority } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { tempDir } from "./kit/temp_dir.ts";

Deno.test("commands of this host get the config file, those of another host and those that have it do not", () => {
  const words = {
    hint: "on the NPM host: certsync push --force; then here: certsync deploy --force --only a.b",
    certificates: [{ name: "a.b", hint: "see with: certsync status; certsync deploy", times: 2 }],
    warnings: ["certsync deploy --config '/x y'", "certsync deployed it", "certsync verify"],
    error: null,
  };
  deepEqual(withNamedFile(words, "/etc/my config.yaml", ["deploy", "status"]), {
    hint: "on the NPM host: certsync push --force; then here: " +
      "certsync deploy --config '/etc/my config.yaml' --force --only a.b",
    certificates: [{
      name: "a.b",
      hint: "see with: certsync status --config '/etc/my config.yaml'; " +
        "certsync deploy --config '/etc/my config.yaml'",
      times: 2,
    }],
    warnings: ["certsync deploy --config '/x y'", "certsync deployed it", "certsync verify"],
    error: null,
  });
});

Deno.test("what status says is so, and what happened, gets no config file: nobody is to type it", () => {
  const report = {
    points: [{ words: "nothing runs certsync push by itself", mend: "certsync push" }],
    history: [{ error: "stopped: certsync push" }],
  };
  deepEqual(withNamedFile(report, "/c", ["push"]), {
    points: [{
      words: "nothing runs certsync push by itself",
      mend: 'certsync push --config "/c"',
    }],
    history: [{ error: "stopped: certsync push" }],
  });
});

Deno.test("which commands are for this host follows from the one that runs, and from what the file is about", () => {
  const to = [parsePushTarget("u@h:/in/", "x")];
  const alone = [parsePushTarget("/home/certsync/incoming", "x")];
  const push = { to }, deploy = { mailcow: "/nonexistent" };
  const files: Record<string, ConfigFile> = {
    nothing: { deploy: undefined },
    "the NPM host's": { push },
    "the mail host's": { deploy },
    both: { push, deploy },
    "one machine's": { push: { to: alone }, deploy },
  };
  const sides = (command: string, file: string) => {
    const here = commandsHere(command, files[file] ?? null);
    equal(["status", "verify"].every((each) => here.includes(each)), true);
    equal(here.includes("push"), here.includes("find-npm-dir"));
    return ["push", "deploy"].filter((each) => here.includes(each)).join(" ");
  };
  const table: [command: string, ...sides: string[]][] = [
    ["push", "push", "push", "push", "push", "push deploy"],
    ["find-npm-dir", "push", "push", "push", "push", "push deploy"],
    ["deploy", "deploy", "deploy", "deploy", "deploy", "push deploy"],
    ["verify", "", "push", "deploy", "push deploy", "push deploy"],
    ["status", "", "push", "deploy", "push deploy", "push deploy"],
  ];
  for (const [command, ...expected] of table) {
    deepEqual(Object.keys(files).map((file) => sides(command, file)), expected, command);
  }
});

Deno.test("every command names the config file that it was given, on this host's side alone", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const NAME = "mail.example.org";
  const leaf = await ca.issue({ names: [NAME] });
  const npm = await npmTree(`${dir.path}/npm`);
  await npm.add(5, leaf);
  const { root } = await mailcowTree(`${dir.path}/mailcow`, { leaf });
  await Deno.mkdir(`${dir.path}/in`, { mode: 0o700 });
  // What nobody waits for, as it is no push under way.
  for (const file of ["fullchain", "privkey"]) {
    await Deno.symlink("../../archive/x.pem", `${dir.path}/in/${file}.pem`);
  }
  const push = { live: npm.live, to: "u@mail.example.org:/in/", state: `${dir.path}/p` };
  const deploy = { mailcow: root, staging: `${dir.path}/in`, state: `${dir.path}/d` };
  const verify = { trust: ca.rootFile, endpoints: "imaps://127.0.0.1:9" };
  const write = async (name: string, config: unknown) => {
    await Deno.writeTextFile(`${dir.path}/${name}`, JSON.stringify(config));
    return [`${dir.path}/${name}`, ` --config "${dir.path}/${name}"`] as const;
  };
  const [npmFile, npmFlag] = await write("npm.yaml", { domain: NAME, push, verify });
  const [mailFile, mailFlag] = await write("mail.yaml", { deploy, verify });
  const [aloneFile, aloneFlag] = await write("one.yaml", {
    ...{ domain: NAME, deploy, verify },
    push: { ...push, to: `${dir.path}/in` },
  });
  /** Every command of certsync's in what is told, as it would be typed. */
  const told = async (...args: string[]) => {
    const [command = "", file = ""] = args;
    const relative = file.slice(dir.path.length + 1);
    const { stdout, stderr } = await certsync([command, "--config", relative, ...args.slice(2)], {
      cwd: dir.path,
    });
    const calls = `${stdout} ${stderr}`
      .match(/certsync (?:setup )?[a-z]+(?:-npm-dir)?(?: --config "[^"]+")?/g) ?? [];
    return [...new Set(calls)].sort();
  };
  const cases: [args: string[], calls: string[]][] = [
    [["verify", npmFile], [`certsync push${npmFlag}`]],
    [["verify", npmFile, "--format=nagios"], [`certsync push${npmFlag}`]],
    [["verify", mailFile], [`certsync deploy${mailFlag}`, "certsync push"]],
    [["verify", aloneFile], [`certsync push${aloneFlag}`]],
    [["find-npm-dir", npmFile, "other.example.org"], [`certsync find-npm-dir${npmFlag}`]],
    [["push", npmFile, "--source=npm-6", "-n"], [`certsync find-npm-dir${npmFlag}`]],
    [["deploy", mailFile, "-n"], ["certsync push"]],
    [["deploy", aloneFile, "-n"], [`certsync push${aloneFlag}`]],
    [["status", npmFile, "--offline"], [`certsync push${npmFlag}`]], // without systemd
    [["setup", mailFile, "push"], [
      "certsync setup push",
      `certsync setup push${mailFlag}`,
    ]],
  ];
  await Promise.all(
    cases.map(async ([args, calls]) => deepEqual([args, await told(...args)], [args, calls])),
  );
});
