// A file system or a network of their own take rights that not every container has.

/** What to put before unshare's options, as words for a shell; undefined where it is not allowed. */
export const unshare: string | undefined = ["--user --map-root-user", ""]
  .map((user) => `/usr/bin/unshare ${user}`.trim())
  .find((command) => {
    const [program, ...args] = `${command} --mount --net true`.split(" ");
    return new Deno.Command(program!, { args, stderr: "null" }).outputSync().success;
  });
