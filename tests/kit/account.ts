// An account of this machine for as long as a test needs it.

import { need } from "./programs.ts";
import { run, tryRun } from "./run.ts";
import { tempDir } from "./temp_dir.ts";

export interface Account extends AsyncDisposable {
  name: string;
  home: string;
  /** Runs usermod or chage on it. */
  change(program: "usermod" | "chage", ...args: string[]): Promise<void>;
}

/** One at a time in the password file, which its tools lock without waiting. */
const LOCK = "/tmp/certsync-kit-accounts.lock";

async function alone(program: "useradd" | "userdel" | "usermod" | "chage", args: string[]) {
  return await tryRun(need("flock"), [LOCK, need(program), ...args]);
}

export async function account(
  { shell = "/bin/sh", home }: { shell?: string; home?: string } = {},
): Promise<Account> {
  const dir = await tempDir();
  await Deno.chmod(dir.path, 0o755);
  const name = `cs-${crypto.randomUUID().slice(0, 13)}`;
  const own = home ?? `${dir.path}/home`;
  const args = ["-M", "-d", own, "-s", shell, "-p", "*", "-K", "MAIL_DIR=/nonexistent", name];
  const { code, stderr } = await alone("useradd", args);
  if (code !== 0) throw new Error(`useradd: ${stderr}`);
  if (home === undefined) {
    await Deno.mkdir(own);
    await run("/bin/chown", [`${name}:`, own]);
  }
  return {
    name,
    home: own,
    change: async (program, ...args) => {
      const { code, stderr } = await alone(program, [...args, name]);
      if (code !== 0) throw new Error(`${program}: ${stderr}`);
    },
    [Symbol.asyncDispose]: async () => {
      const { code, stderr } = await alone("userdel", ["-f", name]);
      if (code !== 0) throw new Error(`userdel: ${stderr}`);
      await dir[Symbol.asyncDispose]();
    },
  };
}
