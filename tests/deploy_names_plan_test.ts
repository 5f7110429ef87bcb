// Whose pair each directory of further names is to carry: the policy, on real certificates.

import { deepEqual, equal, match } from "node:assert/strict";
import type { Pair } from "../lib/certificate/pair.ts";
import type { SniDirectory } from "../lib/chain/mailcow.ts";
import { ownDirectory } from "../lib/chain/sni.ts";
import { NothingStaged } from "../lib/chain/staging.ts";
import { Failure } from "../lib/failure.ts";
import { modesFor, type NamePlan } from "../lib/deploy/name_plan.ts";
import { type NameFacts, planNames } from "../lib/deploy/names.ts";
import { wishFor } from "../lib/deploy/wish.ts";
import { OlderThanDeployed } from "../lib/deploy/plan.ts";
import { NAME, NOW, pair, sni, SSL } from "./deploy_facts.ts";

const [SHOP, CLUB] = ["shop.example.com", "club.example.net"];
const HTTPS_ONLY = `autoconfig.${SHOP}`;

const [top, wideTop, shop, club, both, brief, past, older, wide, longer] = await Promise.all([
  pair(),
  pair({ names: [NAME, SHOP] }),
  pair({ names: [SHOP], notAfter: new Date("2026-09-30T00:00:00Z") }),
  pair({ names: [CLUB] }),
  pair({ names: [SHOP, CLUB] }),
  pair({ names: [SHOP], notAfter: new Date("2026-06-20T00:00:00Z") }),
  pair({ names: [SHOP], notAfter: new Date("2026-05-20T00:00:00Z") }),
  pair({ names: [SHOP], notBefore: new Date("2026-04-01T00:00:00Z") }),
  pair({ names: [SHOP, HTTPS_ONLY] }),
  pair({ names: [SHOP, CLUB], notAfter: new Date("2027-06-01T00:00:00Z") }),
]);

interface One {
  candidate: Pair | Failure;
  name?: string;
  place?: NameFacts["place"];
  made?: NameFacts["made"];
  previous?: Pair;
  isForced?: boolean;
  isReturning?: boolean;
  isFilled?: boolean;
  standing?: NameFacts["standing"];
}

function plan(
  ones: One[],
  directories: SniDirectory[] = [],
  { top: at = top, rejected = [] }: { top?: Pair | null; rejected?: Pair[] } = {},
): NamePlan[] {
  const names = ones.map(({ name = SHOP, previous, ...one }): NameFacts => ({
    ...{ name, own: ownDirectory(name, directories), place: "free", made: null },
    ...{ isForced: false, isReturning: false, isFilled: false, standing: null },
    ...one,
    wasReplaced: previous !== undefined,
    previous: () => previous ?? null,
  }));
  return planNames(names, {
    top: at,
    sslDirectory: SSL,
    hostname: NAME,
    rejected: new Map(rejected.map(({ leaf }) => [leaf.fingerprint, "2026-05-02T00:00:00Z"])),
    now: NOW,
  });
}

const names: [Pair, string][] = [
  ...[[top, "top"], [wideTop, "wideTop"], [shop, "shop"], [club, "club"]] as [Pair, string][],
  ...[[both, "both"], [brief, "brief"], [past, "past"], [older, "older"]] as [Pair, string][],
  [wide, "wide"],
];

/** In words: what is done, whose pair is served from there, what is refused or told. */
function told([one]: NamePlan[]): string {
  const serving = names.find(([pair]) => pair === one?.serving)?.[1] ?? "nothing";
  return [
    `${one?.deed} ${serving}`,
    ...(one?.directory ? [`in ${one.directory.slice(SSL.length + 1)}`] : []),
    ...(one?.refusal ? ["refused"] : []),
    ...(one?.warnings.length ? ["warned"] : []),
  ].join(", ");
}

const bad = new Failure("it is bad");
const missing = new NothingStaged("nothing is staged");

Deno.test("without a directory: one is made, unless the top level serves the name as well", () => {
  const cases: [string, string][] = [
    [told(plan([{ candidate: shop }])), `make shop, in ${SHOP}`],
    [told(plan([{ candidate: shop, place: "ours", made: "begun" }])), `make shop, in ${SHOP}`],
    [told(plan([{ candidate: shop, place: "foreign" }])), "none nothing, refused"],
    [told(plan([{ candidate: shop, made: "made" }])), `make shop, in ${SHOP}`],
    [told(plan([{ candidate: shop, made: "anew" }])), "none nothing, refused"],
    [told(plan([{ candidate: shop, made: "anew", isForced: true }])), `make shop, in ${SHOP}`],
    [told(plan([{ candidate: wideTop }], [], { top: wideTop })), "none wideTop"],
    [told(plan([{ candidate: brief }], [], { top: wideTop })), "none wideTop, warned"],
    [told(plan([{ candidate: shop }], [], { top: wideTop })), `make shop, in ${SHOP}`],
    [told(plan([{ candidate: bad }])), "none nothing, refused"],
    [told(plan([{ candidate: bad }], [], { top: wideTop })), "none wideTop, refused"],
    [told(plan([{ candidate: missing }])), "none nothing, refused"],
    [told(plan([{ candidate: missing }], [], { top: wideTop })), "none wideTop, warned"],
    [told(plan([{ candidate: shop }], [], { top: null })), `make shop, in ${SHOP}`],
  ];
  cases.forEach(([is, shall], index) => equal(is, shall, `case ${index}`));
});

Deno.test("a directory that lacks its pair alone is judged as one that is served", () => {
  const at = (domainsText: string) => ({
    place: "ours" as const,
    standing: {
      directory: `${SSL}/${SHOP}`,
      domainsText,
      domains: domainsText.trim().split(/\s+/),
    },
  });
  const why = (plans: NamePlan[]) => plans[0]?.refusal?.message ?? "";
  equal(told(plan([{ candidate: shop, ...at(`${SHOP}\n`) }])), `make shop, in ${SHOP}`);
  const wider = plan([{ candidate: shop, ...at(`${SHOP} www.elsewhere.example\n`) }]);
  equal(told(wider), "none nothing, refused");
  match(why(wider), /served for "www\.elsewhere\.example" too/);
  const unlike = plan([{ candidate: wide, ...at(`${SHOP}\n${HTTPS_ONLY}\n`) }]);
  equal(told(unlike), "none nothing, refused");
  match(why(unlike), /do not read .* alike/);
  // Of two names that it holds, the other one has a directory, or would get one.
  const two = { candidate: both, ...at(`${SHOP} ${CLUB}`) };
  const rival = plan([two, { name: CLUB, candidate: club }], [sni("club", [CLUB], club)]);
  equal(told(rival), "none nothing, refused");
  match(why(rival), /"club\.example\.net" is in several files/);
  const rivals = plan([two, { name: CLUB, candidate: club }], [
    sni("a", [CLUB], club),
    sni("b", [CLUB], club),
  ]);
  match(why(rivals), /"club\.example\.net" is in several files/);
  const besides = { directory: `${SSL}/${CLUB}`, domainsText: CLUB, domains: [CLUB] };
  const each = plan([two, { name: CLUB, candidate: both, place: "ours", standing: besides }]);
  each.forEach((one) => match(why([one]), /"club\.example\.net" is in several files/));
  const shared = plan([two, { name: CLUB, candidate: club }]);
  deepEqual(shared.map((one) => told([one])), Array(2).fill(`make both, in ${SHOP}`));
  // Where nothing comes of that one, the other name waits for nobody.
  const [, alone] = plan([{ ...two, candidate: bad }, { name: CLUB, candidate: club }]);
  equal(told(alone ? [alone] : []), `make club, in ${CLUB}`);
  // What was kept of it goes back there, where nothing that is staged may.
  const kept = (one: Partial<One>, text = `${SHOP}\n`, more: Parameters<typeof plan>[2] = {}) =>
    told(plan([{ candidate: bad, ...at(text), ...one }], [], more));
  equal(kept({ previous: older }), `make older, in ${SHOP}, refused`);
  equal(kept({ previous: older, candidate: missing }), `make older, in ${SHOP}, refused`);
  equal(kept({ previous: older, candidate: shop }), `make shop, in ${SHOP}`);
  equal(kept({}), "none nothing, refused");
  equal(kept({ previous: past }), "none nothing, refused");
  equal(kept({ previous: { ...older, keyPem: club.keyPem } }), "none nothing, refused");
  equal(kept({ previous: older }, `${SHOP}\n`, { rejected: [older] }), "none nothing, refused");
  equal(kept({ previous: older }, `${SHOP} ${CLUB}\n`), "none nothing, refused");
  equal(kept({ previous: older }, `${SHOP}\n`, { top: wideTop }), "none wideTop, refused");
});

Deno.test("the name's own directory takes its pair where that covers all, or nothing good lies there", () => {
  const at = (domains: string[], lying: Pair | null) => [sni("own", domains, lying)];
  const one = [SHOP], two = [SHOP, HTTPS_ONLY];
  const cases: [string, string][] = [
    [told(plan([{ candidate: shop }], at(one, older))), "install shop, in own"],
    [told(plan([{ candidate: shop }], at(one, shop))), "none shop, in own"],
    [told(plan([{ candidate: wide }], at(two, older))), "install wide, in own"],
    [told(plan([{ candidate: shop }], at(two, wide))), "none nothing, refused"],
    [told(plan([{ candidate: shop }], at(two, past))), "install shop, in own"],
    // Taken over once, it gets every renewal; but not what would take a name from it.
    [told(plan([{ candidate: shop, previous: past }], at(two, older))), "install shop, in own"],
    [told(plan([{ candidate: shop, previous: past }], at(two, wide))), "none nothing, refused"],
    // The top-level pair stands in, where it covers all of it.
    [
      told(plan([{ candidate: brief }], at(one, older), { top: wideTop })),
      "install wideTop, in own, warned",
    ],
    [
      told(plan([{ candidate: bad }], at(one, older), { top: wideTop })),
      "install wideTop, in own, refused, warned",
    ],
    [
      told(plan([{ candidate: missing }], at(one, older), { top: wideTop })),
      "install wideTop, in own, warned",
    ],
    [
      told(plan([{ candidate: missing }], at(two, older), { top: wideTop })),
      "none nothing, refused",
    ],
    [told(plan([{ candidate: shop }], at(one, older), { top: wideTop })), "install shop, in own"],
    [
      told(plan([{ candidate: wideTop }], at(one, older), { top: wideTop })),
      "install wideTop, in own",
    ],
    // With the mail hostname in it, nginx passes over it.
    [
      told(plan([{ candidate: wideTop }], at([NAME, SHOP, HTTPS_ONLY], older))),
      "install wideTop, in own",
    ],
    [told(plan([{ candidate: shop }], at([NAME, SHOP], older))), "none nothing, refused"],
    [told(plan([{ candidate: shop }], at([NAME, SHOP], past))), "install top, in own, refused"],
    [
      told(plan([{ candidate: bad, previous: past }], at([NAME, SHOP, CLUB], older))),
      "none nothing, refused",
    ],
    [
      told(plan([{ name: HTTPS_ONLY, candidate: shop }], at([NAME, HTTPS_ONLY], older))),
      "install top, in own, refused",
    ],
    [
      told(plan([{ candidate: shop }], at([NAME, SHOP], older), { top: wideTop })),
      "install wideTop, in own",
    ],
  ];
  cases.forEach(([is, shall], index) => equal(is, shall, `case ${index}`));
});

Deno.test("a directory of two names takes one pair for both, and without one keeps what it has", () => {
  const directory = sni("two", [SHOP, CLUB], older);
  const of = (...candidates: [Pair | Failure, Pair | Failure]) =>
    plan([{ candidate: candidates[0] }, { name: CLUB, candidate: candidates[1] }], [directory]);
  deepEqual(of(shop, club).map((one) => told([one])), Array(2).fill("none nothing, refused"));
  deepEqual(of(shop, both).map((one) => told([one])), Array(2).fill("install both, in two"));
  deepEqual(of(both, bad).map((one) => told([one])), [
    "install both, in two",
    "install both, in two, refused",
  ]);
  deepEqual(of(new OlderThanDeployed("it is older"), both).map((one) => told([one])), [
    "install both, in two, refused",
    "install both, in two",
  ]);
  deepEqual(of(both, longer).map(({ serving }) => serving), [longer, longer]);
  deepEqual(of(longer, both).map(({ serving }) => serving), [longer, longer]);
  match(of(shop, club)[0]?.refusal?.message ?? "", /served for "club\.example\.net" too/);
});

Deno.test("the top-level pair takes no place of what is better, or was to be gone back from in vain", () => {
  const at = [sni("own", [SHOP], shop)];
  const kept = { top: wideTop };
  const older = new OlderThanDeployed("it is older");
  const noPrevious = { candidate: bad, isForced: true, isReturning: true };
  equal(told(plan([{ candidate: older }], at, kept)), "none nothing, refused");
  equal(told(plan([noPrevious], at, kept)), "none nothing, refused");
  equal(told(plan([{ ...noPrevious, candidate: missing }], at, kept)), "none nothing, refused");
  equal(told(plan([{ candidate: bad }], at, kept)), "install wideTop, in own, refused, warned");
  equal(
    told(plan([{ candidate: brief, isReturning: true }], [sni("own", [SHOP], shop)])),
    "install brief, in own",
  );
  // Who shares its directory goes back too, of which is told beforehand.
  const shared = [sni("two", [SHOP, CLUB], both)];
  const back = { candidate: longer, isForced: true, isReturning: true };
  const [own, other] = plan([back, { name: CLUB, candidate: both }], shared);
  match(
    own?.warnings.join() ?? "",
    /^"club\.example\.net" goes back too: it is served from ".*two"/,
  );
  deepEqual([own?.serving, other?.serving, other?.warnings], [longer, longer, []]);
  deepEqual(plan([back, { ...back, name: CLUB }], shared).flatMap(({ warnings }) => warnings), []);
  // Nor for another name of the same directory.
  const wideBoth = { top: both };
  const two = [sni("two", [SHOP, CLUB], both)];
  const plans = plan([noPrevious, { name: CLUB, candidate: missing }], two, wideBoth);
  deepEqual(plans.map((one) => told([one])), Array(2).fill("none nothing, refused"));
});

Deno.test("what no service could start with is healed: from what was kept, else taken out of service", () => {
  const mixed: Pair = { ...older, keyPem: club.keyPem };
  const at = [sni(SHOP, [SHOP], mixed)];
  equal(told(plan([{ candidate: shop }], at)), `install shop, in ${SHOP}`);
  equal(
    told(plan([{ candidate: bad, previous: older }], at)),
    `install older, in ${SHOP}, refused`,
  );
  equal(told(plan([{ candidate: bad, previous: past }], at)), "none nothing, refused, warned");
  // Only what certsync made there, with the `domains` that it wrote.
  const made = (place: string, domainsText: string) =>
    plan([{ candidate: bad, made: "made" }], [{ ...sni(place, [SHOP], mixed), domainsText }]);
  const unmade = made(SHOP, `${SHOP}\n`);
  equal(told(unmade), `unmake nothing, in ${SHOP}, refused, warned`);
  match(
    unmade[0]?.warnings[0] ?? "",
    /shop\.example\.com" holds no pair: its key does not match.*it goes out of service/,
  );
  equal(told(made("by-hand", `${SHOP}\n`)), "none nothing, refused, warned");
  equal(told(made(SHOP, `${SHOP}`)), "none nothing, refused, warned");
  const others = [{ ...sni(SHOP, [SHOP], mixed), domainsText: `${SHOP}\n` }];
  equal(told(plan([{ candidate: bad }], others)), "none nothing, refused, warned");
  equal(
    told(plan([{ candidate: bad, made: "made" }], [sni(SHOP, [SHOP], older)])),
    "none nothing, refused",
  );
  const back = { rejected: [older] };
  // Of what somebody else began, the pair alone is certsync's.
  const emptied = plan(
    [{ candidate: bad, isFilled: true }],
    [{ ...sni(SHOP, [SHOP], older), domainsText: SHOP }],
    back,
  );
  equal(told(emptied), `unmake nothing, in ${SHOP}, refused, warned`);
  match(emptied[0]?.warnings[0] ?? "", /goes out of service \(its pair is removed\) until/);
  equal(
    told(plan([{ candidate: bad, previous: shop }], [sni(SHOP, [SHOP], older)], back)),
    `install shop, in ${SHOP}, refused`,
  );
});

Deno.test("with a directory that is new or gone all are restarted, else told as configured", () => {
  const [make] = plan([{ candidate: shop }]);
  const [install] = plan([{ candidate: shop }], [sni("own", [SHOP], older)]);
  if (make === undefined || install === undefined) throw new Error("no plan");
  const services = ["postfix-mailcow"] as const;
  deepEqual([...modesFor(services, [install], "reload")], [["postfix-mailcow", "reload"]]);
  deepEqual([...modesFor(services, [make, install], "reload").values()], Array(3).fill("restart"));
});

Deno.test("--force and --rollback are about the domain, or about the names of --only", () => {
  const wishes = (only: "all" | string[], force = true) =>
    [null, SHOP, CLUB].map((name) => wishFor(name, { force, rollback: !force, only }, NAME));
  deepEqual(wishes([]), ["force", "take", "take"]);
  deepEqual(wishes([SHOP]), ["take", "force", "take"]);
  deepEqual(wishes([NAME, CLUB], false), ["rollback", "take", "rollback"]);
  deepEqual(wishes("all"), ["force", "force", "force"]);
});
