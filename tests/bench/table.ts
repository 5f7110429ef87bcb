// How the figures of a run are shown.

export interface Row {
  readonly work: string;
  /** What the time is compared with. */
  readonly reference: string;
  /** Medians. */
  readonly theirsMs?: number;
  readonly oursMs?: number;
  /** The median over the rounds of ours through theirs. */
  readonly ratio?: number;
  /** The ratio to reach. */
  readonly limit?: number;
  /** Outside programs started, theirs and ours. */
  readonly processes?: readonly [number, number];
  readonly limitProcesses?: number;
  readonly memoryMiB?: readonly [number, number];
  readonly limitMiB?: number;
  readonly note?: string;
  /** Where no figure above says it. */
  readonly isMet?: boolean;
}

export function formatTable(rows: readonly Row[]): string {
  const head = [
    "work",
    "against",
    "theirs",
    "certsync",
    "ratio",
    "to reach",
    "processes",
    "MiB",
    "",
  ];
  const cells = rows.map((row) => [
    row.work,
    row.reference,
    milliseconds(row.theirsMs),
    milliseconds(row.oursMs),
    row.ratio === undefined || Number.isNaN(row.ratio)
      ? ""
      : row.ratio.toFixed(row.ratio < 0.1 ? 4 : 2),
    row.limit === undefined ? row.note ?? "" : `≤ ${row.limit}`,
    row.processes === undefined ? "" : row.processes.join(" → "),
    row.memoryMiB === undefined ? "" : row.memoryMiB.map((mib) => mib.toFixed(0)).join(" → "),
    verdict(row),
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((line) => line[column]?.length ?? 0))
  );
  const format = (line: readonly string[]) =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [format(head), rule, ...cells.map(format)].join("\n");
}

function milliseconds(ms: number | undefined): string {
  if (ms === undefined || Number.isNaN(ms)) return "";
  return ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(0)} ms`;
}

function verdict(
  { ratio, limit, processes, limitProcesses, memoryMiB, limitMiB, isMet }: Row,
): string {
  const missed = [
    ...(ratio !== undefined && limit !== undefined && ratio > limit ? ["time"] : []),
    ...(processes && limitProcesses !== undefined && processes[1] > limitProcesses
      ? ["processes"]
      : []),
    ...(memoryMiB && limitMiB !== undefined && memoryMiB[1] > limitMiB ? ["memory"] : []),
    ...(isMet === false ? ["this"] : []),
  ];
  if (missed.length > 0) return `missed: ${missed.join(", ")}`;
  return limit === undefined && isMet === undefined ? "" : "reached";
}

/** Processors, memory, system and versions, in a line. */
export async function describeMachine(): Promise<string> {
  const cpu = /^model name\s*: (.*)$/m.exec(await Deno.readTextFile("/proc/cpuinfo"))?.[1] ??
    Deno.build.arch;
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(await Deno.readTextFile("/etc/os-release"))?.[1];
  const memoryGiB = Deno.systemMemoryInfo().total / 2 ** 30;
  const [load = NaN] = Deno.loadavg();
  return [
    `${navigator.hardwareConcurrency} × ${cpu}, ${memoryGiB.toFixed(0)} GiB`,
    `${system}, Linux ${Deno.osRelease().replace(/-.*/, "")}`,
    `Deno ${Deno.version.deno}`,
    await versionOf("openssl", "version"),
    await versionOf("rsync", "--version"),
    `load ${load.toFixed(1)} at the end`,
  ].join("; ");
}

async function versionOf(program: string, argument: string): Promise<string> {
  const { stdout } = await new Deno.Command(program, { args: [argument] }).output();
  return new TextDecoder().decode(stdout).split("\n")[0]?.replace(/ {2,}/g, " ").replace(
    / (protocol|\().*/,
    "",
  ) ?? program;
}
