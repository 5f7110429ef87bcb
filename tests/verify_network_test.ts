// verify in networks of its own: many addresses of a name, and a host that lacks a whole family.

import { deepEqual, equal, match } from "node:assert/strict";
import { authority, type Leaf } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { need } from "./kit/programs.ts";
import { tempDir } from "./kit/temp_dir.ts";

/** What one verify said. */
interface Said {
  code: number;
  stdout: string;
}

const NAME = "mail.example.org";

interface Net extends AsyncDisposable {
  current: Leaf;
  /**
   * Runs verify, once with each of these arguments, in a network namespace with loopback alone, after
   * these commands; `serve LEAF ADDRESS` serves at port 993. The hosts file names the addresses that
   * NAME has.
   */
  verify<Runs extends readonly string[]>(
    hosts: readonly string[],
    setUp: string,
    ...runs: Runs
  ): Promise<{ [Run in keyof Runs]: Said }>;
}

async function net(): Promise<Net> {
  await using stack = new AsyncDisposableStack();
  const { path: dir } = stack.use(await tempDir());
  const ca = stack.use(await authority());
  const leaves = {
    current: await ca.issue({ names: [NAME] }),
    old: await ca.issue({ names: [NAME], notBefore: new Date(Date.now() - 7_200_000) }),
  };
  for (const [name, { certPem, chainPem, keyPem }] of Object.entries(leaves)) {
    await Deno.writeTextFile(`${dir}/${name}.pem`, certPem + keyPem);
    await Deno.writeTextFile(`${dir}/chain.pem`, chainPem);
  }
  await Deno.writeTextFile(`${dir}/source.pem`, leaves.current.fullchainPem);
  const config = `${dir}/config.yaml`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      domain: NAME,
      verify: { source: `${dir}/source.pem`, trust: ca.rootFile, timeout: "3s" },
    }),
  );
  const openssl = need("openssl"), ip = need("ip");
  const prelude = `set -e
    ip() { ${ip} "$@"; }
    served=0
    serve() {
      ${openssl} s_server -quiet -accept "$2:993" -cert ${dir}/$1.pem \\
        -cert_chain ${dir}/chain.pem -no-CAfile -no-CApath </dev/zero >/dev/null 2>&1 &
      served=$((served + 1))
    }
    run() {
      runs=$((\${runs:-0} + 1))
      "$0" verify --config ${config} "$@" >${dir}/$runs.stdout
      printf %s $? >${dir}/$runs.code
    }
    ip link set lo up
    mount --bind ${dir}/hosts /etc/hosts`;
  const owned = stack.move();
  return {
    current: leaves.current,
    verify: async <Runs extends readonly string[]>(
      hosts: readonly string[],
      setUp: string,
      ...runs: Runs
    ) => {
      await Deno.writeTextFile(`${dir}/hosts`, hosts.map((ip) => `${ip} ${NAME}\n`).join(""));
      const script = [prelude, setUp, SERVING, "set +e", ...runs.map((args) => `run ${args}`)];
      const { stderr } = await certsync([], {
        under: [
          ...[need("unshare"), "--map-root-user", "--net", "--mount", "--pid", "--mount-proc"],
          ...["--fork", "--kill-child", "/bin/sh", "-c", script.join("\n")],
        ],
      });
      const said = async (_: string, index: number): Promise<Said> => {
        const of = (what: string) => Deno.readTextFile(`${dir}/${index + 1}.${what}`);
        const [code, stdout] = await Promise.all([of("code"), of("stdout")]);
        return { code: Number(code), stdout };
      };
      equal(stderr, "");
      return await Promise.all(runs.map(said)) as { [Run in keyof Runs]: Said };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

let all: Net;
Deno.test.beforeAll(async () => {
  all = await net();
});
Deno.test.afterAll(async () => await all[Symbol.asyncDispose]());

/** Until each listens. */
const SERVING = `
  until [ "$(cat /proc/net/tcp /proc/net/tcp6 | grep -c ':03E1 0*:0000 0A')" = $served ]; do
    sleep 0.02
  done`;

const V4 = ["192.0.2.1", "192.0.2.2"];
const V6 = ["2001:db8::1", "2001:db8::2"];
const addresses = [...V4, ...V6].map((address) =>
  `ip address add ${address}/${address.includes(":") ? "128 nodad" : "32"} dev lo`
).join("\n");
const bracket = (address: string) => address.includes(":") ? `[${address}]` : address;
const serve = (leaf: string, ...at: string[]) =>
  at.map((address) => `serve ${leaf} ${bracket(address)}`).join("\n");
/** A card with a link-local address, as every host has one that is in no IPv6 network. */
const linkLocal = `ip link add eth0 type veth peer name eth1
  ip address add fe80::1/64 dev eth0 nodad
  ip link set eth0 up; ip link set eth1 up`;

/** Of what is served with SNI: address, verdict. */
function seen({ stdout }: Said): [string, string][] {
  return JSON.parse(stdout).legs
    .filter(({ leg, sni }: { leg: string; sni?: string }) => leg === "served" && sni !== undefined)
    .map(({ ip, verdict }: { ip: string; verdict: string }) => [ip, verdict]);
}

Deno.test("a name with two addresses of each family is asked at all four", async (t) => {
  await t.step("all are well", async () => {
    const setUp = `${addresses}\n${serve("current", ...V4, ...V6)}`;
    const [json, text] = await all.verify([...V4, ...V6], setUp, "--json", "");
    deepEqual(new Map(seen(json)), new Map([...V4, ...V6].map((ip) => [ip, "ok"])));
    equal(json.code, 0, json.stdout);
    match(text.stdout, /^served +imaps:\/\/mail\.example\.org:993 \(8 ways\) .* ok$/m);
    match(text.stdout, /^all 9 match$/m);
  });
  await t.step("one of them was forgotten", async () => {
    const [forgotten = "", ...others] = [...V6, ...V4];
    const setUp = `${addresses}\n${serve("current", ...others)}\n${serve("old", forgotten)}`;
    const [result] = await all.verify([...V4, ...V6], setUp, "--json");
    deepEqual(
      new Map(seen(result)),
      new Map([...others.map((ip) => [ip, "ok"] as const), [forgotten, "not yet here"]]),
    );
    equal(JSON.parse(result.stdout).staleAt, "served");
  });
});

Deno.test("of a name with more addresses eight are asked, of both families", async () => {
  const hosts = Array.from({ length: 12 }, (_, index) => `192.0.2.${index + 1}`)
    .concat(Array.from({ length: 3 }, (_, index) => `2001:db8::${index + 1}`));
  const [result] = await all.verify(hosts, addresses, "--json");
  const asked = seen(result).map(([ip]) => ip);
  deepEqual([asked.length, asked.filter((ip) => ip.includes(":")).length], [8, 3]);
});

Deno.test("a family that this host has no route for counts for nothing, unless it was asked for", async (t) => {
  const noted = "not asked: no route from here";
  const states: [name: string, hosts: string[], setUp: string, without: string[]][] = [
    [
      "no IPv6 but link-local addresses",
      [...V4, ...V6],
      `${linkLocal}\n${addresses.split("\n").slice(0, 2).join("\n")}`,
      V6,
    ],
    [
      "an IPv6 network that leads nowhere else",
      [...V4, ...V6],
      `${linkLocal}\nip address add fd00::1/64 dev eth0 nodad
      ${addresses.split("\n").slice(0, 2).join("\n")}`,
      V6,
    ],
    [
      "no IPv4",
      [...V4, ...V6],
      `ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up
      ip address add 10.0.0.1/24 dev eth0
      ${addresses.split("\n").slice(2).join("\n")}`,
      V4,
    ],
  ];
  for (const [name, hosts, setUp, without] of states) {
    await t.step(name, async () => {
      const others = hosts.filter((ip) => !without.includes(ip));
      const whole = `${setUp}\n${serve("current", ...others)}`;
      const endpoint = `imaps://${bracket(without[0] ?? "")}`;
      const [result, asked, metrics, nagios] = await all.verify(
        hosts,
        whole,
        "--json",
        `--json --endpoint ${endpoint}`,
        "--format prometheus",
        "--format nagios",
      );
      equal(result.code, 0, result.stdout);
      deepEqual(
        new Map(seen(result)),
        new Map(hosts.map((ip) => [ip, without.includes(ip) ? noted : "ok"])),
      );
      equal(asked.code, 2, asked.stdout);
      deepEqual(seen(asked), [[without[0], "no certificate"]]);
      equal(/^certsync_match\{.* 0$/m.test(metrics.stdout), false, metrics.stdout);
      match(nagios.stdout, /^CERTSYNC OK - all 5 match \| .* unread=0;;;0 mismatched=0;;;0$/m);
    });
  }
});

Deno.test("a router that knows no way is not this host's lack of one", async () => {
  const { ip, nsenter } = { ip: need("ip"), nsenter: need("nsenter") };
  const setUp = `
    ${need("unshare")} --net sleep 60 >/dev/null 2>&1 &
    router=$!
    until [ "$(readlink /proc/$router/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
    ip link add eth0 type veth peer name eth1 netns $router
    ip address add 2001:db8:1::2/64 dev eth0 nodad
    ip link set eth0 up
    there() { ${nsenter} --net=/proc/$router/ns/net "$@"; }
    there ${ip} address add 2001:db8:1::1/64 dev eth1 nodad
    there ${ip} link set eth1 up
    there ${ip} link set lo up
    there sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
    ip route add default via 2001:db8:1::1
    ip address add 192.0.2.1/32 dev lo
    ${serve("current", "192.0.2.1")}`;
  const [result] = await all.verify(["192.0.2.1", "2001:db8::1"], setUp, "--json");
  equal(result.code, 1, result.stdout); // looked at unasked
  deepEqual(
    new Map(seen(result)),
    new Map([["192.0.2.1", "ok"], ["2001:db8::1", "no certificate"]]),
  );
});
