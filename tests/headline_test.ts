// The first line of a result: what changed, until when, and never too long to be read at a glance.

import { deepEqual, equal, ok } from "node:assert/strict";
import { daysLeft, headline, type Subject } from "../lib/certificate/headline.ts";

const NEW = `70:C1:BE:73${":AB".repeat(28)}`;
const OLD = `57:7F:1D:EB${":CD".repeat(28)}`;
const NAME = "mail.example.org";
const renewed: Subject = { fingerprint: NEW, notAfter: "2027-02-20T12:29:55Z" };

const cases: [deed: string, subject: Subject, line: string][] = [
  [
    `deployed ${NAME}`,
    { ...renewed, replaces: OLD, replacesDaysLeft: 25 },
    `deployed ${NAME} 70:C1:BE:73 (was 57:7F:1D:EB, 25 days left), valid until 2027-02-20`,
  ],
  [
    `rolled back ${NAME} to`,
    { ...renewed, replaces: OLD, replacesDaysLeft: 123 },
    `rolled back ${NAME} to 70:C1:BE:73 (was 57:7F:1D:EB, 123 days left), valid until 2027-02-20`,
  ],
  [
    `would deploy ${NAME}`,
    { ...renewed, replaces: OLD, replacesDaysLeft: 1 },
    `would deploy ${NAME} 70:C1:BE:73 (was 57:7F:1D:EB, 1 day left), valid until 2027-02-20`,
  ],
  [
    `installed ${NAME}`,
    { ...renewed, replaces: OLD, replacesDaysLeft: -1 },
    `installed ${NAME} 70:C1:BE:73 (was 57:7F:1D:EB, expired), valid until 2027-02-20`,
  ],
  [
    `pushed ${NAME}`,
    { ...renewed, replaces: OLD },
    `pushed ${NAME} 70:C1:BE:73 (was 57:7F:1D:EB), valid until 2027-02-20`,
  ],
  [
    `nothing to do: every target has ${NAME}`,
    renewed,
    `nothing to do: every target has ${NAME} 70:C1:BE:73, valid until 2027-02-20`,
  ],
];

Deno.test("a first line says what changed, what it replaces and until when, in 90 characters", () => {
  for (const [deed, subject, line] of cases) {
    equal(headline(deed, subject), line);
    ok(line.replace(NAME, "").length <= 90, line);
  }
});

Deno.test("days left are whole ones, and none are left before the end of the last one", () => {
  const now = new Date("2026-11-26T03:00:00Z");
  const ends = ["2026-12-21T02:59:59Z", "2026-11-27T02:59:59Z", "2026-11-26T02:59:59Z"];
  deepEqual(ends.map((end) => daysLeft(new Date(end), now)), [24, 0, -1]);
});
