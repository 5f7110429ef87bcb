// Real `openssl s_server` processes, one pair each, behind Unix sockets.

import { X509Certificate } from "node:crypto";
import { need } from "./programs.ts";
import { tempDir } from "./temp_dir.ts";

export interface ServedPair {
  fullchainPem: string;
  keyPem: string;
}

export interface TlsBackend {
  /** SHA-256 of the leaf, "AA:BB:…". */
  fingerprint: string;
  /** A connection to an s_server that serves nobody else until its disposal. */
  connect(): Promise<BackendConnection>;
}

export interface BackendConnection extends Disposable {
  stream: Deno.UnixConn;
}

export interface TlsBackends extends AsyncDisposable {
  /** Undefined where openssl does not take the pair. */
  load(pair: ServedPair): Promise<TlsBackend | undefined>;
}

interface Worker {
  socket: string;
  child: Deno.ChildProcess;
  drained: Promise<void>;
}

/** Longer than a client takes that is in no trouble. */
const PATIENCE_MS = 50;

// s_server serves one client after the other. Most are done with at once: waiting for that is
// cheaper than a process for each; whoever waits too long gets one, so that no slow client is in
// the way of others.
export async function tlsBackends(): Promise<TlsBackends> {
  const dir = await tempDir();
  const openssl = need("openssl");
  const loaded = new Map<string, Promise<TlsBackend | undefined>>();
  const workers = new Set<Worker>();
  let count = 0;

  async function spawn(pairArgs: string[]): Promise<Worker | undefined> {
    // Relative: s_server ends where its socket's path is longer than 31 characters.
    const socket = `${++count}.sock`;
    const child = new Deno.Command(openssl, {
      cwd: dir.path,
      args: [
        ...["s_server", "-unix", socket, "-www", "-no-CAfile", "-no-CApath"],
        ...pairArgs,
      ],
      clearEnv: true,
      env: { LC_ALL: "C", SSL_CERT_FILE: "/dev/null" },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const accepting = await saysAccept(lines);
    const worker = { socket, child, drained: drain(lines) };
    if (accepting) {
      workers.add(worker);
      return worker;
    }
    await child.status;
    await worker.drained;
  }

  async function load(pair: ServedPair): Promise<TlsBackend | undefined> {
    const path = await Deno.makeTempDir({ dir: dir.path });
    const [leaf, ...chain] = certificates(pair.fullchainPem);
    if (leaf === undefined) return undefined;
    await Deno.writeTextFile(`${path}/cert.pem`, leaf);
    await Deno.writeTextFile(`${path}/chain.pem`, chain.join(""));
    await Deno.writeTextFile(`${path}/key.pem`, pair.keyPem);
    const args = ["-cert", `${path}/cert.pem`, "-key", `${path}/key.pem`];
    if (chain.length > 0) args.push("-cert_chain", `${path}/chain.pem`);

    const first = await spawn(args);
    if (first === undefined) return undefined;
    const idle = [first];
    const waiting = new Set<(worker: Worker) => void>();
    const free = (worker: Worker) => {
      const [next] = waiting;
      if (next === undefined) idle.push(worker);
      else next(worker);
    };
    const freed = () =>
      new Promise<Worker | undefined>((resolve) => {
        const end = (worker: Worker | undefined) => {
          clearTimeout(timer);
          waiting.delete(end);
          resolve(worker);
        };
        const timer = setTimeout(end, PATIENCE_MS, undefined);
        waiting.add(end);
      });
    return {
      fingerprint: new X509Certificate(leaf).fingerprint256,
      connect: async () => {
        const worker = idle.pop() ?? await freed() ?? await spawn(args);
        if (worker === undefined) throw new Error("openssl s_server ended");
        const stream = await Deno.connect({
          transport: "unix",
          path: `${dir.path}/${worker.socket}`,
        });
        return {
          stream,
          [Symbol.dispose]: () => {
            close(stream);
            free(worker);
          },
        };
      },
    };
  }

  return {
    load: (pair) => {
      const key = `${pair.fullchainPem}\0${pair.keyPem}`;
      const known = loaded.get(key) ?? load(pair);
      loaded.set(key, known);
      return known;
    },
    [Symbol.asyncDispose]: async () => {
      for (const { child, drained } of workers) {
        kill(child);
        await child.status;
        await drained;
      }
      await dir[Symbol.asyncDispose]();
    },
  };
}

function certificates(pem: string): string[] {
  const block = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?/g;
  return pem.match(block) ?? [];
}

type Lines = ReadableStreamDefaultReader<string>;

async function saysAccept(lines: Lines): Promise<boolean> {
  for (let said = "";;) {
    const { done, value } = await lines.read();
    if (done) return false;
    said += value;
    if (said.includes("ACCEPT")) return true;
  }
}

async function drain(lines: Lines): Promise<void> {
  while (!(await lines.read()).done);
}

function close(stream: Deno.UnixConn): void {
  try {
    stream.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended already
  }
}
