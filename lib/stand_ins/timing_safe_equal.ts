/** Stands in for `@std/crypto/timing-safe-equal` where JSR cannot be reached: for one length alone. */
export { timingSafeEqual } from "node:crypto";
