/** Exits 0 if the URL answers with what it names within 5 s. */
const [url = ""] = Deno.args;
try {
  const response = await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(4500) });
  Deno.exit(response.ok ? 0 : 1);
} catch {
  // A look-up of the name that is still under way would hold the process.
  Deno.exit(1);
}
