// A port that speaks SMTP up to STARTTLS, and then serves one chain.

import { greet } from "./starttls.ts";
import { type ServedPair, type TlsBackend, tlsBackends } from "./tls_backends.ts";
import { isDisconnect, pump, wire } from "./wire.ts";

export interface SmtpPort {
  address: string;
  port: number;
  pair: ServedPair;
}

/** Until its disposal each port serves its chain, whatever name is asked for. */
export async function smtpServer(ports: SmtpPort[]): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const backends = stack.use(await tlsBackends());
  await Promise.all(ports.map(async ({ address, port, pair }) => {
    const backend = await backends.load(pair);
    if (backend === undefined) throw new Error(`openssl does not take the pair of ${address}`);
    const listener = Deno.listen({ hostname: address, port });
    const accepting = accept(listener, backend);
    stack.defer(async () => {
      listener.close();
      await accepting;
    });
  }));
  return stack.move();
}

async function accept(listener: Deno.TcpListener, backend: TlsBackend): Promise<void> {
  const conversations: Promise<void>[] = [];
  for await (const connection of listener) conversations.push(converse(connection, backend));
  await Promise.all(conversations);
}

async function converse(connection: Deno.TcpConn, backend: TlsBackend): Promise<void> {
  try {
    const plain = wire(connection);
    if (!await greet(plain, "smtp")) return;
    using tls = await backend.connect();
    const inside = wire(tls.stream);
    await inside.write(plain.pending);
    // Both are waited for from the beginning: where one ends in an error, so does the other.
    await Promise.all([
      pump(tls.stream, plain).finally(() => connection.close()),
      pump(connection, inside).finally(() => tls.stream.close()),
    ]);
  } catch (error) {
    if (!isDisconnect(error)) throw error;
  }
}
