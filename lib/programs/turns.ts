// Lets deeds wait for their turn: so many at a time in all, and so many in one place.

export interface Limits {
  readonly inAll: number;
  readonly inOnePlace: number;
}

export type TakeTurn = <T>(place: string, deed: () => Promise<T>) => Promise<T>;

/** First come, first served, but for one whose place is full: nobody else waits for it. */
export function turns({ inAll, inOnePlace }: Limits): TakeTurn {
  const waiting: { readonly place: string; readonly begin: () => void }[] = [];
  const busy = new Map<string, number>();
  let running = 0;

  function count(place: string, change: 1 | -1): void {
    running += change;
    busy.set(place, (busy.get(place) ?? 0) + change);
  }

  function beginWhatMay(): void {
    while (running < inAll) {
      const next = waiting.findIndex(({ place }) => (busy.get(place) ?? 0) < inOnePlace);
      const [taken] = next === -1 ? [] : waiting.splice(next, 1);
      if (taken === undefined) return;
      count(taken.place, 1);
      taken.begin();
    }
  }

  return async (place, deed) => {
    await new Promise<void>((begin) => {
      waiting.push({ place, begin });
      beginWhatMay();
    });
    try {
      return await deed();
    } finally {
      count(place, -1);
      beginWhatMay();
    }
  };
}
