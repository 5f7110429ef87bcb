// Time-outs that pass when a test has seen what it waits for, and not after their minutes.

export interface HeldTimers extends Disposable {
  /** How many of that length run now. */
  running(): number;
  /** Lets those that run pass. */
  pass(): void;
}

/** Of that length, as this process sets them until the disposal. */
export function heldTimers(lengthMs: number): HeldTimers {
  const { setTimeout, clearTimeout } = globalThis;
  const held = new Map<number | undefined, () => void>();
  globalThis.setTimeout = ((callback: () => void, delayMs?: number) => {
    const timer = setTimeout(callback, delayMs);
    if (delayMs === lengthMs) held.set(timer, callback);
    return timer;
  }) as typeof setTimeout;
  globalThis.clearTimeout = (timer) => {
    held.delete(timer);
    clearTimeout(timer);
  };
  return {
    running: () => held.size,
    pass: () => {
      for (const [timer, callback] of held) {
        clearTimeout(timer);
        callback();
      }
      held.clear();
    },
    [Symbol.dispose]: () => Object.assign(globalThis, { setTimeout, clearTimeout }),
  };
}
