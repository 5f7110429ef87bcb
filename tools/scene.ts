// A mail host at its standard places, in namespaces of its own, whose commands are typed and recorded:
// run by tools/record.ts, inside unshare. Prints each command with what a terminal showed of it.

import { authority } from "../tests/kit/authority.ts";
import { fakeDocker } from "../tests/kit/fake_docker.ts";
import { type Endpoint, ENDPOINTS, mailServices } from "../tests/kit/mail_services.ts";
import { mailcowTree } from "../tests/kit/mailcow_tree.ts";
import { need } from "../tests/kit/programs.ts";
import { run, tryRun } from "../tests/kit/run.ts";

export interface Recording {
  /** What the old and the new certificate are called here: colons and all. */
  readonly fingerprints: readonly [old: string, new: string];
  readonly expires: readonly [old: string, new: string];
  readonly shown: readonly Shown[];
}

export interface Shown {
  readonly command: string;
  readonly code: number;
  /** With its colours. */
  readonly output: string;
}

const NAME = "mail.example.org";
const HOUR_MS = 3_600_000;
const [binary = ""] = Deno.args;

/** Half a day more, so that it is the same number of days whenever this runs. */
const at = (days: number) => new Date(Date.now() + (days * 24 + 12) * HOUR_MS);

if (import.meta.main) {
  await standardPlaces();
  await using ca = await authority("Example");
  await Deno.writeTextFile("/etc/ssl/certs/ca-certificates.crt", ca.rootPem);
  const issue = (from: number, to: number) =>
    ca.issue({ names: [NAME], notBefore: at(from), notAfter: at(to) });
  const [old, renewed] = [await issue(-65, 25), await issue(-3, 87)];

  const mailcow = await mailcowTree("/opt/mailcow-dockerized", { leaf: old });
  const ports = Object.fromEntries(
    Object.entries(ENDPOINTS).map(([name, { portKey }]) => [name, Number(mailcow.conf()[portKey])]),
  ) as Record<Endpoint, number>; // a port for each endpoint
  await using services = await mailServices(mailcow, { ports });
  await using docker = await fakeDocker(services);
  // Three ports of nine, that the table is short.
  docker.published = Object.fromEntries(
    (["smtp", "imaps", "https"] as const).map((name) => [
      name,
      { address: "127.0.0.1", port: ports[name] },
    ]),
  );
  await Deno.mkdir("/etc/certsync");
  await Deno.writeTextFile("/etc/certsync/config.yaml", "deploy:\n  dane: off # nobody is asked\n");
  const incoming = "/home/certsync/incoming";
  await Deno.mkdir(incoming, { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(`${incoming}/fullchain.pem`, renewed.fullchainPem);
  await Deno.writeTextFile(`${incoming}/privkey.pem`, renewed.keyPem, { mode: 0o600 });
  await Deno.mkdir("/run/bin");
  await Deno.symlink(binary, "/run/bin/certsync");

  const shown: Shown[] = [];
  for (const command of ["certsync verify", "certsync deploy", "certsync verify"]) {
    // script gives it a terminal, so that it shows its colours.
    const { code, stdout } = await tryRun(
      need("script"),
      ["--quiet", "--return", "--command", command, "/dev/null"],
      {
        env: {
          PATH: `/run/bin:${docker.bin}:${Deno.env.get("PATH")}`,
          HOME: "/root",
          TERM: "xterm",
        },
      },
    );
    shown.push({ command, code, output: stdout.replaceAll("\r\n", "\n") });
  }
  const recording: Recording = {
    fingerprints: [old.fingerprint, renewed.fingerprint],
    expires: [old.notAfter.toISOString(), renewed.notAfter.toISOString()],
    shown,
  };
  console.log(JSON.stringify(recording));
}

/** Empty ones, over this machine's own: nothing outside of the namespace sees them. */
async function standardPlaces(): Promise<void> {
  for (const place of ["/opt", "/home", "/run", "/var/lib", "/mnt"]) {
    await run("mount", ["-t", "tmpfs", "tmpfs", place]);
  }
  for (const name of ["upper", "work"]) await Deno.mkdir(`/mnt/${name}`);
  const layers = "lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work";
  await run("mount", ["-t", "overlay", "overlay", "-o", layers, "/etc"]);
  await run("ip", ["link", "set", "lo", "up"]);
}
