import { deepEqual, equal } from "node:assert/strict";
import { formatLastPushed, holdsOther, parseLastPushed, pushedKey } from "../lib/chain/last_fp.ts";
import { parsePushTarget } from "../lib/values/push_target.ts";

const A = Array.from({ length: 32 }, (_, i) => (i + 160).toString(16).toUpperCase()).join(":");
const B = A.replaceAll("A", "B");
const one = parsePushTarget("u@one:/in/", "x");
const two = parsePushTarget("u@two:/in/", "x");

Deno.test("last_fp holds a fingerprint by target", () => {
  const pushed = new Map([[one.text, A], [two.text, B]]);
  const text = formatLastPushed(pushed);
  equal(text, `${A} u@one:/in/\n${B} u@two:/in/\n`);
  deepEqual(parseLastPushed(text, [one, two]), pushed);
  deepEqual(parseLastPushed(text.toLowerCase(), [one, two]), pushed);
  deepEqual(parseLastPushed(text.replaceAll("\n", "\r\n\n"), [one, two]), pushed);
});

Deno.test("last_fp holds a fingerprint by target and further name, apart from the domain's", () => {
  const pushed = new Map([
    [pushedKey(one, null), A],
    [pushedKey(one, "shop.example.net"), B],
    [pushedKey(two, "shop.example.net"), A],
  ]);
  const text = formatLastPushed(pushed);
  equal(
    text,
    `${A} u@one:/in/\n${B} u@one:/in/\tshop.example.net\n${A} u@two:/in/\tshop.example.net\n`,
  );
  deepEqual(parseLastPushed(text, [one, two]), pushed);
  deepEqual(parseLastPushed(text.replaceAll("\n", " \r\n"), [one, two]), pushed);
  equal(holdsOther(text, [one]), false);
  equal(parseLastPushed(`${A}\n`, [one]).get(pushedKey(one, "shop.example.net")), undefined);
});

Deno.test("a target may hold spaces", () => {
  const odd = parsePushTarget("u@one:/in out/", "x");
  const text = formatLastPushed(new Map([[odd.text, A]]));
  equal(parseLastPushed(text, [odd]).get(odd.text), A);
});

Deno.test("a bare fingerprint counts for a single target", () => {
  for (
    const text of [
      A,
      `${A}\n`,
      `  ${A.toLowerCase()}\r\n`,
      `sha256 Fingerprint=${A}\n`,
      `SHA256 Fingerprint=${A}\n`,
      `SHA256 FINGERPRINT=${A.toLowerCase()}`,
    ]
  ) {
    deepEqual(parseLastPushed(text, [one]), new Map([[one.text, A]]), text);
    deepEqual(parseLastPushed(text, [one, two]), new Map(), text);
    deepEqual(parseLastPushed(text, []), new Map(), text);
  }
});

Deno.test("anything else is unknown, and does no harm to the lines beside it", () => {
  for (
    const text of [
      "",
      "\n",
      "garbage",
      "\x00\x01\ufffd",
      A.slice(3),
      `${A}:00`,
      `${A} `.repeat(2),
      A.replaceAll(":", ""),
      `md5 Fingerprint=${A}`,
      `sha256 Fingerprint=${A} ${one.text}`,
      `${A}\n${A}`,
      `x ${A} ${one.text}`,
      `${A} ${one.text}\t`,
      `${A} ${one.text}\t../x`,
      `${A} ${one.text}\tshop.example.net\tx`,
    ]
  ) {
    equal(parseLastPushed(text, [one]).get(one.text), undefined, JSON.stringify(text));
    equal(parseLastPushed(`${text}\n${B} ${one.text}\n`, [one]).get(one.text), B);
  }
});
