// The day that a man page bears: the same for the same source, whenever it is made.

/** That of SOURCE_DATE_EPOCH if it is set, else the newest one in CHANGELOG.md. Pure. */
export function releaseDate(changelog: string, sourceDateEpoch: string | undefined): string {
  if (sourceDateEpoch !== undefined && sourceDateEpoch !== "") {
    return new Date(Number(sourceDateEpoch) * 1000).toISOString().slice(0, "2026-11-26".length);
  }
  const date = /^## \S+, (\d{4}-\d\d-\d\d)$/m.exec(changelog)?.[1];
  if (date === undefined) throw new Error("CHANGELOG.md has no release with a date");
  return date;
}
