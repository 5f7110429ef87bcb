// What docker compose's words mean: only its own, not those of the command that it ran.

import { deepEqual, equal, match } from "node:assert/strict";
import { inDirectory } from "../lib/chain/in_directory.ts";
import { composeCommand, explainCompose } from "../lib/programs/compose.ts";

const explain = (stderr: string, stdout = "", code = 1) => explainCompose({ code, stdout, stderr });

Deno.test("a container that does not run is told from a program that does not", () => {
  const id = "3f4e9c".padEnd(64, "0");
  const cases: [stderr: string, kind: string][] = [
    ['service "postfix-mailcow" is not running\n', "not-running"],
    ['service "postfix-mailcow" is not running container #1\n', "not-running"],
    [`time="…" level=warning msg="x"\nservice "dovecot-mailcow" is not running\n`, "not-running"],
    [`Error response from daemon: Container ${id} is not running\n`, "not-running"],
    [`Error response from daemon: container ${id} is not running\n`, "not-running"],
    [
      `Error response from daemon: Container ${id} is restarting, ` +
      "wait until the container is running\n",
      "not-running",
    ],
    [`Error response from daemon: No such container: ${id}\n`, "not-running"],
    ["ERROR: No container found for postfix-mailcow_1\n", "not-running"],
    [
      `Error response from daemon: Container ${id} is paused, unpause the container before exec\n`,
      "paused",
    ],
    ["postfix/postfix-script: fatal: the Postfix mail system is not running\n", "failed"],
    ["Fatal: Dovecot is not running (read from /run/dovecot/master.pid)\n", "failed"],
    ['nginx: [error] invalid PID number "" in "/run/nginx.pid"\n', "failed"],
    ["doveadm: Error: the container mail is paused\n", "failed"],
    ["Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n", "failed"],
    ["", "failed"],
  ];
  for (const [stderr, kind] of cases) equal(explain(stderr).kind, kind, stderr);
});

Deno.test("each known cause has its hint", () => {
  const cases: [stderr: string, hint: RegExp | null][] = [
    [
      "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
      /systemctl start docker/,
    ],
    [
      "error during connect: this error may indicate that the docker daemon is not running",
      /start/,
    ],
    ["docker: 'compose' is not a docker command.\nSee 'docker --help'", /docker-compose-plugin/],
    ["unknown shorthand flag: 'T' in -T", /docker-compose-plugin.*standalone/],
    [
      "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
      Deno.uid() === 0 ? /root from docker's socket/ : /as root/,
    ],
    ["no configuration file provided: not found", /deploy\.mailcow/],
    ["no such service: postfix-mailcow", /deploy\.mailcow/],
    ['nginx: [emerg] cannot load certificate "/etc/ssl/mail/cert.pem"', null],
  ];
  for (const [stderr, hint] of cases) {
    const result = explain(stderr);
    if (result.kind !== "failed") throw new Error(`${result.kind}: ${stderr}`);
    if (hint === null) equal(result.hint, undefined);
    else match(result.hint ?? "", hint);
    equal(result.words, stderr.split("\n").join("; "));
  }
});

Deno.test("where docker says nothing, its exit code is what there is", () => {
  deepEqual(explain("", "", 137), { kind: "failed", words: "exit code 137", code: 137 });
  deepEqual(explain("", "said on stdout\n"), { kind: "failed", words: "said on stdout", code: 1 });
});

Deno.test("the operator is shown the command that his mailcow has", () => {
  equal(composeCommand({ version: "native" }), "docker compose");
  equal(composeCommand({ version: "standalone" }), "docker-compose");
  const advice = "then: docker compose restart a; rm -r /x && docker compose restart b";
  const told = (compose: string) => inDirectory(advice, { directory: "/my mailcow", compose });
  equal(
    told("docker-compose"),
    "then: cd '/my mailcow' && docker-compose restart a; " +
      "rm -r /x && cd '/my mailcow' && docker-compose restart b",
  );
  equal(told("docker compose"), told("docker-compose").replaceAll("docker-", "docker "));
});
