// A systemctl that knows units as files of their properties, and does to them what it is told.

import { tempDir } from "./temp_dir.ts";

export type Properties = Record<string, string | string[]>;

export interface FakeSystemctl extends AsyncDisposable {
  /** The directory to put first on PATH. */
  bin: string;
  /** Adds a unit, or changes it. */
  set(unit: string, properties: Properties): Promise<void>;
  remove(unit: string): Promise<void>;
}

const SCRIPT = (units: string) =>
  `#!/bin/bash
cd ${units}
change() { sed -i "s/^$2=.*/$2=$3/" "$1"; }
verb=$1; shift
case $verb in
show)
  first=1
  for unit in "$@"; do
    case $unit in --*) continue ;; esac
    [ $first ] || echo
    first=
    if [ -e "$unit" ]; then cat "$unit"; else printf 'Id=%s\\nLoadState=not-found\\nActiveState=inactive\\n' "$unit"; fi
  done ;;
enable) shift; change "$1" UnitFileState enabled; change "$1" ActiveState active ;;
unmask) change "$1" LoadState loaded ;;
reset-failed) for unit in "$@"; do change "$unit" ActiveState inactive; change "$unit" Result success; done ;;
start)
  case $1 in
  *.service) change "$1" Result success; change "$1" ActiveState inactive ;;
  *) change "$1" ActiveState active ;;
  esac ;;
*) echo "Unknown command verb '$verb'." >&2; exit 1 ;;
esac
`;

/** As after setup, for each of these units. */
const WELL: Properties = {
  LoadState: "loaded",
  ActiveState: "active",
  UnitFileState: "enabled",
  Result: "success",
  ExecMainStatus: "0",
  ExecMainExitTimestamp: "",
  NextElapseUSecRealtime: "",
};

export async function fakeSystemctl(): Promise<FakeSystemctl> {
  const dir = await tempDir();
  const units = `${dir.path}/units`;
  await Deno.mkdir(units);
  await Deno.mkdir(`${dir.path}/bin`);
  await Deno.writeTextFile(`${dir.path}/bin/systemctl`, SCRIPT(units), { mode: 0o755 });
  return {
    bin: `${dir.path}/bin`,
    set: async (unit, properties) => {
      const state = unit.endsWith(".service") ? { ActiveState: "inactive" } : {};
      const lines = Object.entries({ Id: unit, ...WELL, ...state, ...properties })
        .flatMap(([name, values]) => [values].flat().map((value) => `${name}=${value}\n`));
      await Deno.writeTextFile(`${units}/${unit}`, lines.join(""));
    },
    remove: (unit) => Deno.remove(`${units}/${unit}`),
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}
