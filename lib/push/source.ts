// The pairs that push sends, each read as one snapshot while a renewal may be under way.

import { liveDirectories, readLineages } from "../chain/npm_dir.ts";
import { Failure, quote } from "../failure.ts";
import { pause, type RunContext } from "../run_context.ts";
import { chooseDirectory, type DirectoryChoice, type Wanted } from "./choice.ts";
import { Passing, readAt, readKeyOf, type Source } from "./pair_at.ts";

const ATTEMPTS = 40;
const BETWEEN_MS = 100;

/** A name whose source is looked for; `pushed` holds the leaves that the targets have of it. */
export interface Question {
  readonly wanted: Wanted;
  readonly pushed: ReadonlySet<string>;
}

/**
 * certbot replaces the links of a lineage one by one, so what does not fit together is read again
 * for a few seconds, also where another lineage would do meanwhile. Then it is returned as it is,
 * for the judge. Whatever is read for several names is read once in each attempt. A Failure stands
 * where there is nothing to read.
 */
export async function readSources(
  questions: readonly Question[],
  context: RunContext,
): Promise<(Source | Failure)[]> {
  const answers = new Map<Question, Source | Failure>();
  const seen = new Map(questions.map((question) => [question, new Set<string>()]));
  using told = new DisposableStack();
  for (let attempt = 1;; attempt++) {
    const look = onceEach((live: Wanted["live"]) =>
      readLineages(liveDirectories(live), context.now)
    );
    const nothing = { warnings: [], others: [] };
    const read = onceEach((directory: string, { lineage, wanted }: Look) =>
      (lineage && readKeyOf(lineage, nothing)) ?? readAt(directory, nothing, wanted.commands)
    );
    for (const question of questions) {
      if (answers.has(question)) continue;
      const { wanted, pushed } = question;
      const answer = attemptOnce(seen.get(question) ?? new Set(), attempt === ATTEMPTS, {
        choose: () => chooseDirectory(wanted, pushed, () => look(wanted.live, wanted)),
        read: ({ directory, lineage }) => read(directory, { lineage, wanted }),
      });
      if (answer !== null) answers.set(question, answer);
    }
    if (answers.size === questions.length) break;
    if (attempt === 1) {
      told.use(context.wait("waiting for a renewal to end", ATTEMPTS * BETWEEN_MS));
    }
    await pause(BETWEEN_MS, context);
  }
  return questions.map((question) => answers.get(question)).filter((answer) =>
    answer !== undefined
  );
}

interface Look extends Pick<DirectoryChoice, "lineage"> {
  readonly wanted: Wanted;
}

/** Of one name alone. Throws a Failure where there is nothing to read. */
export async function readSource(wanted: Wanted, context: RunContext): Promise<Source> {
  const [source] = await readSources([{ wanted, pushed: new Set() }], context);
  if (source === undefined || source instanceof Failure) throw source;
  return source;
}

/** Null where another attempt is worth it. `seen` are the directories that it was for before. */
function attemptOnce(
  seen: Set<string>,
  isLast: boolean,
  { choose, read }: { choose(): DirectoryChoice; read(choice: DirectoryChoice): Source },
): Source | Failure | null {
  try {
    const choice = choose();
    if (isLast || !choice.isChanging) {
      const better = choice.changing.find((directory) => seen.has(directory));
      if (better !== undefined) throw beingWritten(better);
      const { directory, warnings, ...found } = read(choice);
      const source = {
        ...{ ...found, directory, others: choice.others },
        warnings: [...new Set([...choice.warnings, ...warnings])],
      };
      if (isLast || source.keyFits) return source;
    }
    seen.add(choice.directory);
    return null;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return isLast || !(error instanceof Passing) ? error : null;
  }
}

/** What it came to for that key the first time, a Failure too. */
function onceEach<Key, More, T>(deed: (key: Key, more: More) => T): (key: Key, more: More) => T {
  const known = new Map<Key, T | Failure>();
  return (key, more) => {
    const before = known.get(key);
    if (before instanceof Failure) throw before;
    if (before !== undefined) return before;
    try {
      const result = deed(key, more);
      known.set(key, result);
      return result;
    } catch (error) {
      if (error instanceof Failure) known.set(key, error);
      throw error;
    }
  };
}

function beingWritten(directory: string): Passing {
  return new Passing(`the certificate is being written at this moment: ${quote(directory)}`, {
    hint: "run this again when that has ended",
  });
}
