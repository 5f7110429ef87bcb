// Runs things in turns and takes medians: what disturbs the machine then disturbs them all alike.

export interface Subject {
  /** What has to be as it was before each run, and is not measured. */
  prepare?: () => Promise<unknown> | unknown;
  run: () => Promise<unknown>;
}

/** The times of each subject, in milliseconds, a round each. */
export type Times<Name extends string> = Record<Name, number[]>;

export async function inTurns<Name extends string>(
  subjects: Record<Name, Subject>,
  { rounds, warmUp }: { rounds: number; warmUp: number },
): Promise<Times<Name>> {
  const names = Object.keys(subjects) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, []])) as unknown as Times<Name>;
  for (let round = -warmUp; round < rounds; round++) {
    for (const name of names) {
      const { prepare, run } = subjects[name];
      await prepare?.();
      const begin = performance.now();
      await run();
      if (round >= 0) times[name].push(performance.now() - begin);
    }
  }
  return times;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle] ?? NaN
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

/** The median of what each round gives. */
export function medianOf<Name extends string>(
  times: Times<Name>,
  ofRound: (round: Record<Name, number>) => number,
): number {
  const names = Object.keys(times) as Name[];
  const rounds = times[names[0] as Name].map((_, round) =>
    Object.fromEntries(names.map((name) => [name, times[name][round]])) as Record<Name, number>
  );
  return median(rounds.map(ofRound));
}

export interface Command {
  argv: string[];
  env: Record<string, string>;
  cwd?: string;
}

/** Runs it to its end without looking at what it prints; throws if it fails. */
export async function call({ argv: [program = "", ...args], env, cwd }: Command): Promise<void> {
  const { code } = await start(program, args, env, cwd).status;
  if (code !== 0) throw new Error(`exit ${code}: ${program} ${args.join(" ")}`);
}

/** The most memory it had in RAM, in MiB; looked up all the time until it is gone. */
export async function peakMemoryMiB(
  { argv: [program = "", ...args], env, cwd }: Command,
): Promise<number> {
  const child = start(program, args, env, cwd);
  let peakKiB = 0;
  for (;;) {
    const status = Deno.readTextFileSync(`/proc/${child.pid}/status`);
    const found = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    if (found === undefined) break; // it has ended
    peakKiB = Number(found);
  }
  await child.status;
  return peakKiB / 1024;
}

function start(program: string, args: string[], env: Record<string, string>, cwd?: string) {
  return new Deno.Command(program, {
    args,
    ...(cwd === undefined ? {} : { cwd }),
    clearEnv: true,
    env,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}
