// A mail host at its standard places, in namespaces of its own, whose commands are typed and recorded:
// run by tools/record.ts, inside unshare. Prints each command with what a terminal showed of it.

import { authority, type Leaf } from "../tests/kit/authority.ts";
import { fakeDocker } from "../tests/kit/fake_docker.ts";
import { type Endpoint, ENDPOINTS, mailServices } from "../tests/kit/mail_services.ts";
import { mailcowTree } from "../tests/kit/mailcow_tree.ts";
import { need } from "../tests/kit/programs.ts";
import { run, tryRun } from "../tests/kit/run.ts";

export interface Recording {
  /** What the certificates are called here, colons and all: the old one, the new one, the further name's. */
  readonly fingerprints: readonly string[];
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
/** With a further name, that has a certificate of its own. */
const [binary = "", further] = Deno.args;

/** Half a day more, so that it is the same number of days whenever this runs. */
const at = (days: number) => new Date(Date.now() + (days * 24 + 12) * HOUR_MS);

if (import.meta.main) {
  await standardPlaces();
  await using ca = await authority("Example");
  await Deno.writeTextFile("/etc/ssl/certs/ca-certificates.crt", ca.rootPem);
  const issue = (name: string, from: number, to: number) =>
    ca.issue({ names: [name], notBefore: at(from), notAfter: at(to) });
  const [old, renewed] = [await issue(NAME, -65, 25), await issue(NAME, -3, 87)];

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
  await Deno.writeTextFile(
    "/etc/certsync/config.yaml",
    `${
      further === undefined ? "" : `also: [${further}]\n`
    }deploy:\n  dane: off # nobody is asked\n`,
  );
  const incoming = "/home/certsync/incoming";
  await Deno.mkdir(incoming, { recursive: true, mode: 0o700 });
  await stage(incoming, renewed);
  const others = further === undefined ? [] : [await issue(further, -3, 87)];
  for (const other of others) await stage(`${incoming}/${further}`, other);
  await Deno.mkdir("/run/bin");
  await Deno.symlink(binary, "/run/bin/certsync");

  const shown: Shown[] = [];
  for (const command of ["certsync verify", "certsync deploy", "certsync verify"]) {
    // script gives it a terminal, so that it shows its colours.
    const { code, stdout } = await tryRun(
      need("script"),
      ["--quiet", "--return", "--command", `stty cols 80; ${command}`, "/dev/null"],
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
    fingerprints: [old, renewed, ...others].map(({ fingerprint }) => fingerprint),
    expires: [old.notAfter.toISOString(), renewed.notAfter.toISOString()],
    shown,
  };
  console.log(JSON.stringify(recording));
}

async function stage(directory: string, { fullchainPem, keyPem }: Leaf): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(`${directory}/fullchain.pem`, fullchainPem);
  await Deno.writeTextFile(`${directory}/privkey.pem`, keyPem, { mode: 0o600 });
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
