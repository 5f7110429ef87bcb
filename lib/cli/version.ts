/** Which certsync this is, and what it was built with. */
import config from "../../deno.json" with { type: "json" };

export const version = config.version;

/** What tools/build writes and embeds. */
interface Build {
  deno: string;
  runtime: "official" | "npm" | "DENORT_BIN";
  packages: "jsr" | "stand-ins" | "import-map";
}

/** The answer to `--version`. */
export async function describeBuild(): Promise<string> {
  const first = `certsync ${version}`;
  if (!Deno.build.standalone) return `${first}\nrun from source, not compiled`;

  const build: Build = JSON.parse(
    await Deno.readTextFile(new URL("../../dist/build.json", import.meta.url)),
  );
  const lines = [first, `Deno ${build.deno}, packages: ${build.packages}`];
  if (build.runtime === "npm") {
    lines.push("for trying and testing: its runtime was cut out of an npm package, not Deno's own");
  } else if (build.runtime === "DENORT_BIN") {
    lines.push("its runtime is not Deno's own download, but what DENORT_BIN named");
  }
  return lines.join("\n");
}
