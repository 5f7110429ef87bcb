// Real nginx, Postfix and Dovecot, which load many pairs at once and serve each by its name or port.

import { freePort } from "../kit/free_port.ts";
import { endTree } from "../kit/process_tree.ts";
import { need } from "../kit/programs.ts";
import { run, tryRun } from "../kit/run.ts";
import { until } from "../kit/until.ts";

export interface Served {
  name: string;
  chainFile: string;
  keyFile: string;
}

/** The leaf that each of them serves, in DER; null where it serves none. */
export type Reader = (pair: Served) => Promise<Uint8Array | null>;

const openssl = need("openssl");

async function handshake(port: number, name: string): Promise<Uint8Array | null> {
  const { stdout } = await tryRun("timeout", [
    ...["5", openssl, "s_client", "-connect", `127.0.0.1:${port}`, "-servername", name],
    "-showcerts",
  ], { stdin: "" });
  const chain = stdout.split("\nServer certificate\n")[0] ?? "";
  const block = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/.exec(chain)?.[1];
  return block === undefined ? null : Uint8Array.fromBase64(block);
}

export async function nginx(
  stack: AsyncDisposableStack,
  dir: string,
  pairs: readonly Served[],
): Promise<Reader> {
  const port = freePort();
  await Deno.mkdir(dir);
  for (const { name, chainFile, keyFile } of pairs) {
    await Deno.symlink(chainFile, `${dir}/${name}.crt`);
    await Deno.symlink(keyFile, `${dir}/${name}.key`);
  }
  await Deno.writeTextFile(
    `${dir}/nginx.conf`,
    `user root; pid ${dir}/pid; error_log ${dir}/log; worker_processes 1;
events {}
http {
  access_log off;
  ${
      ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map((kind) => `${kind}_temp_path ${dir}/${kind};`).join(" ")
    }
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${dir}/$ssl_server_name.crt;
    ssl_certificate_key ${dir}/$ssl_server_name.key;
    return 204;
  }
}
`,
  );
  const args = ["-c", `${dir}/nginx.conf`, "-e", `${dir}/log`];
  await run(need("nginx"), args);
  stack.defer(async () => void await run(need("nginx"), [...args, "-s", "quit"]));
  return ({ name }) => handshake(port, name);
}

/** `top` is as the top-level pair is loaded, `sni` as those of SNI directories are. */
export async function postfix(
  stack: AsyncDisposableStack,
  dir: string,
  pairs: readonly Served[],
): Promise<{ top: Reader; sni: Reader }> {
  const first = pairs[0];
  if (first === undefined) throw new TypeError("no pair");
  const ports = new Map(pairs.map(({ name }) => [name, freePort()]));
  const sniPort = freePort();
  await Deno.mkdir(`${dir}/queue`, { recursive: true });
  await Deno.chmod(dir, 0o755);
  await Deno.mkdir(`${dir}/data`);
  await run("chown", ["postfix", `${dir}/data`]);
  await Deno.writeTextFile(
    `${dir}/main.cf`,
    `compatibility_level = 3.6
queue_directory = ${dir}/queue
data_directory = ${dir}/data
maillog_file = ${dir}/log
maillog_file_prefixes = ${dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = torture.example
smtpd_tls_security_level = may
smtpd_tls_wrappermode = yes
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
tls_server_sni_maps = hash:${dir}/sni
alias_maps =
`,
  );
  const service = (port: number, { chainFile, keyFile }: Served) =>
    `127.0.0.1:${port} inet n - n - - smtpd\n  -o smtpd_tls_cert_file=${chainFile}\n` +
    `  -o smtpd_tls_key_file=${keyFile}\n`;
  await Deno.writeTextFile(
    `${dir}/master.cf`,
    `postlog unix-dgram n - n - 1 postlogd
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
` + pairs.map((pair) => service(ports.get(pair.name) ?? 0, pair)).join("") +
      service(sniPort, first),
  );
  // A file that it cannot take keeps the rest out too: so each is tried alone first.
  const lines = pairs.map(({ name, chainFile, keyFile }) => `${name} ${keyFile} ${chainFile}\n`);
  await Deno.writeTextFile(`${dir}/sni`, lines.join(""));
  await run("postmap", ["-c", dir, "-F", `hash:${dir}/sni`]);
  await run(need("postfix"), ["-c", dir, "start"]);
  stack.defer(async () => void await run(need("postfix"), ["-c", dir, "stop"]));
  return {
    top: ({ name }) => handshake(ports.get(name) ?? 0, "unknown.example"),
    sni: ({ name }) => handshake(sniPort, name),
  };
}

export async function dovecot(
  stack: AsyncDisposableStack,
  dir: string,
  pairs: readonly Served[],
  fallback: Omit<Served, "name">,
): Promise<Reader> {
  const port = freePort();
  await Deno.mkdir(dir);
  await Deno.chmod(dir, 0o755);
  const text = (pairs: readonly Served[]) =>
    `base_dir = ${dir}/run
state_dir = ${dir}/state
log_path = ${dir}/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <${fallback.chainFile}
ssl_key = <${fallback.keyFile}
passdb {
  driver = static
  args = nopassword=y
}
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = ${port}
    ssl = yes
  }
}
` + pairs.map(({ name, chainFile, keyFile }) =>
      `local_name ${name} {\n  ssl_cert = <${chainFile}\n  ssl_key = <${keyFile}\n}\n`
    ).join("");
  const config = `${dir}/dovecot.conf`;
  await Deno.writeTextFile(config, text(pairs));
  // In the foreground, since its helpers hold on to what they were given for stdout.
  const child = new Deno.Command(need("dovecot"), {
    args: ["-F", "-c", config],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  stack.defer(() => endTree(child));
  await until(() => handshake(port, "unknown.example").then((leaf) => leaf !== null));
  const unnamed = (await handshake(port, "unknown.example"))?.toBase64();
  return async ({ name }) => {
    const leaf = await handshake(port, name);
    return leaf?.toBase64() === unnamed ? null : leaf; // what it gives where the name's own fails
  };
}
