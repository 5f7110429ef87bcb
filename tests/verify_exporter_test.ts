// Several names on one host are scraped side by side: Debian's own node exporter reads what verify wrote.

import { deepEqual, equal, match } from "node:assert/strict";
import { authority } from "./kit/authority.ts";
import { certsync } from "./kit/certsync.ts";
import { freePort } from "./kit/free_port.ts";
import { mailcowTree } from "./kit/mailcow_tree.ts";
import { npmTree } from "./kit/npm_tree.ts";
import { need } from "./kit/programs.ts";
import { tryRun } from "./kit/run.ts";
import { tempDir } from "./kit/temp_dir.ts";
import { until } from "./kit/until.ts";

/** What a scrape of the textfile collector gives. */
async function scrape(directory: string): Promise<string> {
  const port = freePort();
  const exporter = new Deno.Command(need("prometheus-node-exporter"), {
    args: [
      ...[`--web.listen-address=127.0.0.1:${port}`, "--collector.disable-defaults"],
      ...["--collector.textfile", `--collector.textfile.directory=${directory}`],
    ],
    ...{ stdin: "null", stdout: "null", stderr: "null" },
  }).spawn();
  try {
    let text = "";
    await until(async () => {
      try {
        text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        return true;
      } catch {
        return false; // it does not listen yet
      }
    });
    return text;
  } finally {
    exporter.kill("SIGKILL");
    await exporter.status;
  }
}

Deno.test("three names of one mailcow are three series each, also where two share a directory", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const [mail = "", shop = "", blog = ""] = [
    "mail.example.org",
    "shop.example.net",
    "blog.example.net",
  ];
  const [current, both, other] = await Promise.all([
    ca.issue({ names: [mail] }),
    ca.issue({ names: [shop, blog], notBefore: new Date(Date.now() - 30 * 86_400_000) }),
    ca.issue({ names: [shop, blog], notBefore: new Date(Date.now() - 60 * 86_400_000) }),
  ]);
  const npm = await npmTree(`${dir.path}/npm`);
  const mailcow = await mailcowTree(`${dir.path}/mailcow`, { leaf: current });
  await npm.add(5, current);
  await npm.add(6, both);
  await mailcow.putSni("pair", other, [shop, blog]);
  const config = `${dir.path}/config.yaml`;
  const push = { live: npm.live, to: "u@h:/d/" };
  const sections = { push, deploy: { mailcow: mailcow.root }, verify: { trust: ca.rootFile } };
  await Deno.writeTextFile(
    config,
    JSON.stringify({ domain: mail, also: [shop, blog], ...sections }),
  );
  await Deno.mkdir(`${dir.path}/collected`);
  const { code, stderr } = await certsync([
    ...["verify", "--config", config, "--leg", "source", "--leg", "deployed"],
    ...["--format", "prometheus", "--output", `${dir.path}/collected/certsync.prom`],
  ]);
  deepEqual([code, stderr], [2, ""]);
  const text = await scrape(`${dir.path}/collected`);
  match(text, /^node_textfile_scrape_error 0$/m);
  const status = /^certsync_status\{domain="(.+?)"\} (\d)$/gm;
  deepEqual(
    Array.from(text.matchAll(status), ([, name, status]) => [name, status]).sort(),
    [[blog, "2"], [mail, "0"], [shop, "2"]],
  );
  for (const name of [mail, shop, blog]) {
    const series = text.split("\n").filter((line) => line.includes(`domain="${name}"`));
    equal(series.length, 2 + 2 * 3, series.join("\n"));
    match(series.join("\n"), /^certsync_run_seconds/m);
  }
  const held = /^certsync_match\{domain="(.+?)",ip="",leg="deployed",sni="",where="(.+?)"\} 0$/gm;
  deepEqual(
    Array.from(text.matchAll(held), ([, name, where]) => [name, where]).sort(),
    [blog, shop].map((name) => [name, `${mailcow.ssl}/pair/cert.pem`]),
  );
});

Deno.test("two names are two series each, for which one node exporter drops neither", async () => {
  await using dir = await tempDir();
  await using ca = await authority();
  const names = ["mail.example.org", "mail.example.net"];
  for (const [index, name] of names.entries()) {
    const [source, deployed] = await Promise.all(["a", "b"].map(() => ca.issue({ names: [name] })));
    await Deno.writeTextFile(`${dir.path}/source.pem`, source?.fullchainPem ?? "");
    // One of them is well, the other is not.
    const other = index === 0 ? source : deployed;
    await Deno.writeTextFile(`${dir.path}/deployed.pem`, other?.fullchainPem ?? "");
    const { code, stderr } = await certsync([
      ...["verify", name, "--leg", "source", "--leg", "deployed", "--format", "prometheus"],
      ...["--source", `${dir.path}/source.pem`, "--deployed", `${dir.path}/deployed.pem`],
      ...["--output", `${dir.path}/certsync-${index}.prom`],
    ]);
    deepEqual([code, stderr], [index, ""]); // fresh, so a warning
  }
  const text = await scrape(dir.path);
  const value = (series: string) =>
    text.split("\n").find((line) => line.startsWith(`${series} `))?.slice(series.length + 1);
  equal(value("node_textfile_scrape_error"), "0");
  deepEqual(names.map((name) => value(`certsync_status{domain="${name}"}`)), ["0", "1"]);
  for (const name of names) {
    match(value(`certsync_run_seconds{domain="${name}"}`) ?? "", /^1\.\d+e\+09$/);
    const series = text.split("\n").filter((line) => line.includes(`domain="${name}"`));
    // Status, time of the run, and of both legs: end, match and fingerprint.
    equal(series.length, 2 + 2 * 3, text);
  }
  const { code, stdout, stderr } = await tryRun(need("promtool"), ["check", "metrics"], {
    stdin: text.split("\n").filter((line) => line.includes("certsync_")).join("\n") + "\n",
  });
  deepEqual([code, stdout + stderr], [0, ""]);
});
