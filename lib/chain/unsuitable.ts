// What is staged and is not to be served, and that push can put something else in its place.

import { Failure } from "../failure.ts";

const SEND_ANEW = "run on the NPM host: certsync push --force";

/** What lies there is none to be served: what push sends anew takes its place. */
export class Unsuitable extends Failure {
  override name = "Unsuitable";

  constructor({ message, hint, cause }: Failure) {
    super(message, { hint: orSendAnew(hint), cause });
  }
}

/** Whoever has the key of the push may have put it there: then Nginx Proxy Manager's own is good. */
function orSendAnew(hint: string | undefined): string {
  if (hint === undefined) return SEND_ANEW;
  const isPassing = hint.endsWith("in a minute");
  return isPassing || hint.includes("certsync push")
    ? hint
    : `${SEND_ANEW}; where that does not end it: ${hint}`;
}
