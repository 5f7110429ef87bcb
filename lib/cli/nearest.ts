// The known word that an unknown one was probably meant to be.

/** Null where nothing is near enough to be worth suggesting. */
export function nearest(word: string, known: readonly string[]): string | null {
  const letters = word.replace(/^-+/, "").length;
  const longer = known.find((candidate) => letters > 1 && candidate.startsWith(word));
  if (longer !== undefined) return longer;
  let best: { word: string; distance: number } | null = null;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (best === null || distance < best.distance) best = { word: candidate, distance };
  }
  return best !== null && best.distance <= Math.max(1, Math.floor(letters / 2)) ? best.word : null;
}

/** Levenshtein's, in one row. */
function editDistance(from: string, to: string): number {
  if (from.length > 64) return Infinity;
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 0; i < from.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j++) {
      const substituted = (row[j] ?? 0) + (from[i] === to[j] ? 0 : 1);
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
