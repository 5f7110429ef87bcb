// The plaintext talk before TLS: smtp, imap, pop3 and sieve up to STARTTLS.

import type { Wire } from "./wire.ts";

export type Starttls = "smtp" | "imap" | "pop3" | "sieve";

/**
 * Speaks the server's side. "refuses" neither offers STARTTLS nor grants it.
 * True when the client's next bytes are TLS.
 */
export async function greet(
  wire: Wire,
  protocol: Starttls,
  manner: "grants" | "refuses" = "grants",
): Promise<boolean> {
  const { greeting, answer } = SERVERS[protocol](manner === "grants");
  await wire.write(greeting);
  for (;;) {
    const line = await wire.line();
    if (line === undefined) return false;
    const { reply, then } = answer(line);
    await wire.write(reply);
    if (then === "tls") return true;
    if (then === "close") return false;
  }
}

interface Answer {
  reply: string;
  then?: "tls" | "close";
}

interface Server {
  greeting: string;
  answer(line: string): Answer;
}

const SERVERS: Record<Starttls, (grants: boolean) => Server> = {
  smtp: (grants) => ({
    greeting: "220 mail.example.org ESMTP Postcow\r\n",
    answer: (line) => {
      switch (line.split(" ")[0]?.toUpperCase()) {
        case "EHLO":
          return {
            reply: "250-mail.example.org\r\n250-PIPELINING\r\n" +
              "250-SIZE 104857600\r\n" + (grants ? "250-STARTTLS\r\n" : "") +
              "250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 CHUNKING\r\n",
          };
        case "HELO":
          return { reply: "250 mail.example.org\r\n" };
        case "NOOP":
          return { reply: "250 2.0.0 Ok\r\n" };
        case "STARTTLS":
          return grants
            ? { reply: "220 2.0.0 Ready to start TLS\r\n", then: "tls" }
            : { reply: "502 5.5.1 Error: command not implemented\r\n" };
        case "QUIT":
          return { reply: "221 2.0.0 Bye\r\n", then: "close" };
        default:
          return { reply: "502 5.5.2 Error: command not recognized\r\n" };
      }
    },
  }),

  imap: (grants) => {
    const capabilities = `CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ` +
      `ENABLE IDLE LITERAL+${grants ? " STARTTLS" : ""} LOGINDISABLED`;
    return {
      greeting: `* OK [${capabilities}] Dovecot ready.\r\n`,
      answer: (line) => {
        const [tag = "*", command = ""] = line.split(" ");
        switch (command.toUpperCase()) {
          case "CAPABILITY":
            return {
              reply: `* ${capabilities}\r\n${tag} OK Pre-login capabilities ` +
                "listed, post-login capabilities have more.\r\n",
            };
          case "NOOP":
            return { reply: `${tag} OK NOOP completed.\r\n` };
          case "STARTTLS":
            return grants
              ? {
                reply: `${tag} OK Begin TLS negotiation now.\r\n`,
                then: "tls",
              }
              : { reply: `${tag} BAD TLS support isn't enabled.\r\n` };
          case "LOGOUT":
            return {
              reply: `* BYE Logging out\r\n${tag} OK Logout completed.\r\n`,
              then: "close",
            };
          default:
            return { reply: `${tag} BAD Error in IMAP command.\r\n` };
        }
      },
    };
  },

  pop3: (grants) => ({
    greeting: "+OK Dovecot ready.\r\n",
    answer: (line) => {
      switch (line.split(" ")[0]?.toUpperCase()) {
        case "CAPA":
          return {
            reply: "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\n" +
              `AUTH-RESP-CODE\r\n${grants ? "STLS\r\n" : ""}SASL\r\n.\r\n`,
          };
        case "STLS":
          return grants
            ? { reply: "+OK Begin TLS negotiation now.\r\n", then: "tls" }
            : { reply: "-ERR TLS support isn't enabled.\r\n" };
        case "QUIT":
          return { reply: "+OK Logging out\r\n", then: "close" };
        default:
          return { reply: "-ERR Unknown command.\r\n" };
      }
    },
  }),

  sieve: (grants) => {
    const capabilities = '"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n' +
      '"SIEVE" "fileinto reject envelope body vacation"\r\n' +
      '"NOTIFY" "mailto"\r\n"SASL" ""\r\n' +
      (grants ? '"STARTTLS"\r\n' : "") + '"VERSION" "1.0"\r\n';
    return {
      greeting: `${capabilities}OK "Dovecot ready."\r\n`,
      answer: (line) => {
        switch (line.split(" ")[0]?.toUpperCase()) {
          case "CAPABILITY":
            return { reply: `${capabilities}OK "Capability completed."\r\n` };
          case "NOOP":
            return { reply: 'OK "NOOP completed."\r\n' };
          case "STARTTLS":
            return grants
              ? { reply: 'OK "Begin TLS negotiation now."\r\n', then: "tls" }
              : { reply: 'NO "TLS support is not enabled."\r\n' };
          case "LOGOUT":
            return { reply: 'OK "Logout completed."\r\n', then: "close" };
          default:
            return { reply: 'NO "Error in MANAGESIEVE command."\r\n' };
        }
      },
    };
  },
};
