// What a mail host shows when a renewal has not been deployed yet, and then: from a real run, with
// names and dates that are always the same.

import { fileURLToPath } from "node:url";
import { run } from "../tests/kit/run.ts";
import { unshare } from "../tests/kit/unshare.ts";
import type { Recording, Shown } from "./scene.ts";

const top = fileURLToPath(new URL("..", import.meta.url));

/** What the two certificates are called in the documents. */
const FINGERPRINTS = [
  "57:7F:1D:EB:0A:9C:33:51:E4:6F:8B:72:D0:15:C6:9A:27:B3:48:FE:61:0D:94:A5:3C:E8:76:1F:B2:59:C0:84",
  "70:C1:BE:73:D8:BE:58:DB:58:B7:79:2D:FC:D7:CA:74:13:50:5D:84:EF:9F:54:3E:82:CB:7B:E3:CF:3A:13:A6",
  "26:16:50:4C:A1:7E:0B:D3:5F:92:C8:64:1D:F7:83:2A:E9:40:B6:5C:18:97:3D:F0:62:AB:CE:04:71:D8:9F:35",
] as const;
const EXPIRES = ["2026-12-20", "2027-02-20"] as const;
const RECORD = "210a28ac043b00f2994d3da9d66705f89a18bb115fbaad419661fa8a88446cb8";

/** Both scenes: of one name, and of two. Needs dist/certsync and the right to unshare. */
export async function record(): Promise<Scenes> {
  const [one, two] = await Promise.all([play(), play("mail.example.com")]);
  return { one, two };
}

export interface Scenes {
  readonly one: readonly Shown[];
  readonly two: readonly Shown[];
}

async function play(...further: readonly string[]): Promise<readonly Shown[]> {
  if (unshare === undefined) throw new Error("this machine lets nobody unshare its mounts");
  const [program = "", ...args] = `${unshare} --mount --net --uts`.split(" ");
  const output = await run(program, [
    ...args,
    ...[`${top}/tools/deno`, "run", "--no-check", "--allow-all"],
    ...[`${top}/tools/scene.ts`, `${top}/dist/certsync`, ...further],
  ]);
  return unchanging(JSON.parse(output));
}

/** The same text, of the same width, with the fixed names and dates in it. Pure. */
export function unchanging({ fingerprints, expires, shown }: Recording): readonly Shown[] {
  const names = [
    ...fingerprints.flatMap((fingerprint, index) => [
      [fingerprint, FINGERPRINTS[index] ?? ""] as const,
      [short(fingerprint), short(FINGERPRINTS[index] ?? "")] as const,
    ]),
    ...expires.map((time, index) => [time.slice(0, 10), EXPIRES[index] ?? ""] as const),
  ];
  return shown.map(({ output, ...rest }) => ({
    ...rest,
    output: names.reduce((text, [real, fixed]) => text.replaceAll(real, fixed), settled(output))
      .replace(/\b[0-9a-f]{64}\b/g, RECORD),
  }));
}

/** Without what the terminal showed while it waited, and took away again. */
function settled(output: string): string {
  // deno-lint-ignore no-control-regex -- how a line is cleared
  return output.replace(/(?<=^|\n)[^\n]*\r\x1b\[K/g, "");
}

function short(fingerprint: string): string {
  return fingerprint.slice(0, "AA:BB:CC:DD".length);
}

/** As a person would copy it. */
export function transcript(shown: readonly Shown[]): string[] {
  return shown.flatMap(({ command, output }, index) => [
    ...(index === 0 ? [] : [""]),
    `$ ${command}`,
    // deno-lint-ignore no-control-regex -- the colours
    ...output.replace(/\x1b\[\d+m/g, "").trimEnd().split("\n"),
  ]);
}
