import { deepEqual, equal, match } from "node:assert/strict";
import { sshTarget } from "./kit/ssh_target.ts";
import { explainTransfer } from "../lib/programs/rsync_words.ts";
import type { Peer } from "../lib/programs/ssh_words.ts";
import { plainView } from "../lib/programs/ssh_view.ts";
import { type Ending, parseServerCommand } from "../lib/programs/rsync.ts";

const target = sshTarget("certsync@mail.example.org:/home/certsync/incoming/");
const SSH = { port: 22, identity: null as string | null, knownHosts: null };

function explain(ending: Ending, to = target, options = SSH, known: Partial<Peer> = {}) {
  const view = plainView(to.login, options);
  const others = {
    jumps: [],
    keys: [],
    commonAlgorithms: [],
    configFile: "/root/.ssh/config",
    uid: 0,
  };
  const peer = { ...others, view, login: to.login, options, ...known };
  return explainTransfer(ending, { target: to, peer, timeoutMs: 60_000, greeting: null });
}
const LET_IN = 'Authenticated to mail.example.org ([192.0.2.1]:22) using "publickey".\n';
const CLOSED = "rsync: connection unexpectedly closed (0 bytes received so far) [sender]\n" +
  "rsync error: error in rsync protocol data stream (code 12) at io.c(285) [sender=3.2.7]\n";
const UNEXPLAINED = "rsync error: unexplained error (code 255) at io.c(231) [sender=3.2.7]\n";

/** As OpenSSH 9.2 and rsync 3.1.3 to 3.5.0 put it. */
const cases: Record<string, [code: number, stderr: string, error: RegExp, hint: RegExp]> = {
  "an unknown host key": [
    255,
    "No ED25519 host key is known for mail.example.org and you have requested strict checking.\r\n" +
    "Host key verification failed.\r\n" + UNEXPLAINED,
    /^the host key is unknown: No ED25519/,
    /line of mail\.example\.org into/,
  ],
  "a changed host key": [
    255,
    "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key verification failed.\r\n" +
    UNEXPLAINED,
    /^the host key has changed/,
    /replace the line of mail\.example\.org/,
  ],
  "a key that is not taken": [
    255,
    "certsync@mail.example.org: Permission denied (publickey).\r\n" + UNEXPLAINED,
    /^permission denied/,
    /authorized_keys/,
  ],
  "no answer": [
    255,
    "ssh: connect to host mail.example.org port 22: Connection timed out\r\n" + UNEXPLAINED,
    /^the connection timed out/,
    /^let port 22 inbound through the firewall of the mail host mail\.example\.org and outbound/,
  ],
  "no banner": [
    255,
    "Connection timed out during banner exchange\r\n" + UNEXPLAINED,
    /^the connection timed out/,
    /^let port 22 inbound/,
  ],
  "a closed port": [
    255,
    "ssh: connect to host mail.example.org port 22: Connection refused\r\n" + UNEXPLAINED,
    /^the connection was refused/,
    /^let port 22 inbound/,
  ],
  "no route": [
    255,
    "ssh: connect to host mail.example.org port 22: No route to host\r\n" + UNEXPLAINED,
    /^there is no route/,
    /ip route/,
  ],
  "no name": [
    255,
    "ssh: Could not resolve hostname mail.example.org: Name or service not known\r\n" + UNEXPLAINED,
    /^the host name has no address/,
    /getent hosts mail\.example\.org/,
  ],
  "a server that hangs up": [
    255,
    "kex_exchange_identification: Connection closed by remote host\r\n" +
    "Connection closed by 192.0.2.1 port 22\r\n" + UNEXPLAINED,
    /^the other side closed the connection/,
    /fail2ban/,
  ],
  "no rsync over there, says bash": [
    127,
    `${LET_IN}bash: line 1: rsync: command not found\n${CLOSED}`,
    /^rsync is missing/,
    /install the package rsync on mail\.example\.org/,
  ],
  "no rsync over there, says dash": [
    127,
    `${LET_IN}sh: 1: rsync: not found\n${CLOSED}`,
    /^rsync is missing/,
    /install/,
  ],
  "no space": [
    11,
    `${LET_IN}rsync: [receiver] write failed on "/home/certsync/incoming/privkey.pem": ` +
    "No space left on device (28)\n",
    /^no space left on the mail host/,
    /\/home\/certsync\/incoming\/ on mail\.example\.org/,
  ],
  "a directory of somebody else": [
    23,
    `${LET_IN}rsync: [receiver] mkstemp "/home/certsync/incoming/.privkey.pem.X" failed: ` +
    "Permission denied (13)\n",
    /^the other side cannot write there/,
    /must exist and belong/,
  ],
  "the same from rsync 3.1": [
    23,
    `${LET_IN}rsync: mkstemp "/home/certsync/incoming/.privkey.pem.X" failed: Permission denied (13)\n`,
    /^the other side cannot write there/,
    /must exist and belong/,
  ],
  "a directory that is missing": [
    11,
    `${LET_IN}rsync: [Receiver] mkdir "/home/certsync/incoming" failed: No such file or directory (2)\n`,
    /^the other side cannot write there/,
    /must exist/,
  ],
  "another program": [
    2,
    `${LET_IN}protocol version mismatch -- is your shell clean?\n`,
    /^the other side runs something else/,
    /authorized_keys/,
  ],
  "a file that cannot be written, without a word": [
    11,
    LET_IN,
    /^the other side could not write \(rsync's code 11\)/,
    /^free some space in \/home\/certsync\/incoming\/ on mail\.example\.org/,
  ],
  "what nobody foresaw": [
    5,
    `${LET_IN}something odd\n`,
    /^rsync failed with code 5: something odd$/,
    /ssh -v -p 22 certsync@mail\.example\.org$/,
  ],
};

for (const [what, [code, stderr, error, hint]] of Object.entries(cases)) {
  Deno.test(`rsync's words are understood: ${what}`, () => {
    const failure = explain({ code, stderr });
    match(failure.error, error);
    match(failure.hint, hint);
    equal(failure.mayBeForcedCommand, false);
    equal(/Authenticated to/.test(failure.error), false);
    equal(/ at \S+\.c\(\d+\)|unexpectedly closed/.test(failure.error), false, failure.error);
    const words = failure.error.split("; ");
    deepEqual([...new Set(words)], words, "something is said twice");
  });
}

Deno.test("rsync's epilogue is told only where the other side said nothing else", () => {
  const syntax =
    "rsync error: syntax or usage error (code 1) at clientserver.c(1310) [Receiver=3.2.7]\n";
  const told = (stderr: string, code = 12) => explain({ code, stderr: LET_IN + stderr }).error;
  const [cause = ""] = told(CLOSED).split(": ");
  equal(told(CLOSED), cause);
  equal(told(syntax + CLOSED), `${cause}: rsync error: syntax or usage error (code 1)`);
  const denied = 'rsync: [Receiver] mkdir "/home/x" failed: Permission denied (13)';
  const end = "rsync error: error in file IO (code 11) at main.c(800) [Receiver=3.2.7]\n";
  match(told(`${denied}\n${end}`, 11), /: rsync: \[Receiver\] mkdir "\/home\/x" failed: [^;]+$/);
});

Deno.test("a stream that breaks once ssh has let us in may be the forced command's fault", () => {
  for (
    const [code, words] of [
      [12, CLOSED],
      [12, "unexpected tag 115 [sender/inc]\n"],
      [4, "Failed to negotiate a compress choice.\n"],
      [10, "rsync: [sender] write error: Broken pipe (32)\n"],
      [12, "rsync: [sender] read error: Connection reset by peer (104)\n"],
    ] as const
  ) {
    const failure = explain({ code, stderr: LET_IN + words });
    equal(failure.mayBeForcedCommand, true, words);
    match(failure.error, /^the forced command on the other side does not fit/);
    match(failure.hint, /authorized_keys on mail\.example\.org.*--debug=CMD/);
  }
});

Deno.test("silence means a firewall before ssh was let in, and a forced command after it", () => {
  const before = explain({ code: null, stderr: "" }, target, { ...SSH, port: 2222 });
  match(before.error, /^the connection timed out: no end within 60 s$/);
  match(before.hint, /^let port 2222 inbound/);
  equal(before.mayBeForcedCommand, false);

  const after = explain({ code: null, stderr: LET_IN });
  match(after.error, /^the forced command .*: no end within 60 s$/);
  equal(after.mayBeForcedCommand, true);
});

Deno.test("what is to be tried by hand is what push tries, also with an IPv6 address", () => {
  const address = sshTarget("certsync@[2001:db8::1]:/home/certsync/incoming/");
  const letIn = 'Authenticated to 2001:db8::1 ([2001:db8::1]:22) using "publickey".\n';
  const ssh = { ...SSH, identity: "/root/.ssh/mailcow_certsync" };
  equal(
    explain({ code: 5, stderr: `${letIn}something odd\n` }, address, ssh).hint,
    'try it by hand: ssh -v -p 22 -i "/root/.ssh/mailcow_certsync" certsync@2001:db8::1',
  );
});

Deno.test("a target on another port is bracketed, as known_hosts has it", () => {
  const stderr = "Host key verification failed.\r\n";
  match(
    explain({ code: 255, stderr }, target, { ...SSH, port: 2222 }).hint,
    /\[mail\.example\.org\]:2222 into/,
  );
});

Deno.test("the command for authorized_keys is what rsync would run over there", () => {
  const plain = "rsync --server -logDtprze.iLsfxCIvu . /home/certsync/incoming/";
  deepEqual(
    [
      `opening connection using: /bin/false -l certsync mail ${plain}  (9 args)\n`,
      `opening connection using: /bin/false -l certsync mail ${plain} \n`,
      `opening connection using: /bin/false mail rsync --server -logDtprze.iLsfxC . "/in\\ \\"a/"  (8 args)\n`,
      "rsync: no such thing\n",
      "",
    ].map(parseServerCommand),
    [plain, plain, 'rsync --server -logDtprze.iLsfxC . /in\\ \\"a/', null, null],
  );
});

Deno.test("nobody's directory is given away that may not be the push's own", () => {
  const mkstemp = (path: string) =>
    `${LET_IN}rsync: [receiver] mkstemp "${path}/.privkey.pem.X" failed: Permission denied (13)\n`;
  for (const path of ["", "/home", "/home/admin", "/opt/mailcow-dockerized/data", "/etc/ssl/own"]) {
    const { error, hint } = explain({ code: 23, stderr: mkstemp(path) });
    match(error, /^the other side cannot write there/);
    match(
      hint,
      /is not for the push alone; make .*: install -d -o certsync -m 700 "\/home\/certsync\/incoming"; and write the target as certsync@mail\.example\.org:\/home\/certsync\/incoming\//,
    );
  }
  const root = sshTarget("certsync@mail.example.org:/");
  const traceback = (error: string) =>
    `${LET_IN}Traceback (most recent call last):\n  File "/usr/bin/rrsync", line 338, in lock_or_die\n` +
    `${error}\n${CLOSED}`;
  const hintOf = (stderr: string) => explain({ code: 12, stderr }, root).hint;
  for (
    const stderr of [
      mkstemp(""),
      traceback("PermissionError: [Errno 13] Permission denied: '/etc/ssl'"),
      `${LET_IN}rrsync error: Restricted directory does not exist!\n${CLOSED}`,
    ]
  ) match(hintOf(stderr), /rrsync in authorized_keys on \S+ names must exist.* and its path$/);
  match(
    hintOf(traceback("FileNotFoundError: [Errno 2] No such file or directory: '/srv/it s'")),
    /: install -d -o certsync -m 700 '\/srv\/it s'$/,
  );
});

Deno.test("an ending that nothing explains after the login is the forced command's", () => {
  for (
    const [code, words] of [[255, ""], [255, UNEXPLAINED], [1, ""], [13, "odd\n"], [
      14,
      "",
    ]] as const
  ) {
    const failure = explain({ code, stderr: LET_IN + words });
    match(failure.error, /^the forced command on the other side does not fit/);
    match(failure.hint, /--debug=CMD/);
  }
  const overflow = `${LET_IN}buffer overflow: recv_rules [sender]\n` +
    "rsync error: error allocating core memory buffers (code 22) at exclude.c(1658) [sender=3.2.7]\n";
  match(explain({ code: 22, stderr: overflow }).error, /^the forced command .*recv_rules/);
});

Deno.test("an error of files has its words where rsync has none", () => {
  for (const code of [3, 11, 23]) {
    const { error, hint, isWordless } = explain({ code, stderr: LET_IN });
    equal(isWordless, true);
    match(error, new RegExp(`^the other side could not write \\(rsync's code ${code}\\)`));
    match(hint, /and see that it is a directory where the user of the push may write/);
  }
  const stderr = `${LET_IN}ERROR: destination must be a directory when copying more than 1 file\n`;
  match(
    explain({ code: 3, stderr }).hint,
    /"\/home\/certsync\/incoming" on \S+ must be a directory/,
  );
});

Deno.test("before the target's own login a word may be of any host on the way", () => {
  const jump = plainView("admin@gate.example.org");
  const through = { jumps: [jump] };
  const expired = "Your account has expired; please contact your system administrator.\n";
  const { error, hint } = explain({ code: 255, stderr: expired }, target, SSH, through);
  match(error, /^the account on one of the hosts on the way has expired/);
  match(
    hint,
    /chage -l says .*: on gate\.example\.org, as root: chage .* admin; or on mail\.example\.org, as root: chage .* certsync$/,
  );
  const password = "Password change required but no TTY available.\n";
  match(
    explain({ code: 255, stderr: password }, target, SSH, through).hint,
    /on gate\.example\.org.*or on mail\.example\.org/,
  );
  const after = explain({ code: 12, stderr: LET_IN + password + CLOSED }, target, SSH, through);
  match(after.error, /^the password of the account over there has expired/);
  match(after.hint, /^on mail\.example\.org, as root: chage .* certsync$/);
  const closed = "Connection closed by UNKNOWN port 65535\n";
  match(
    explain({ code: 255, stderr: closed }, target, SSH, through).hint,
    /log on gate\.example\.org and on mail\.example\.org/,
  );

  const view = { ...plainView(target.login), proxyCommand: "/bin/false" };
  const proxied = explain({ code: 255, stderr: closed }, target, SSH, { view });
  match(proxied.error, /^the ProxyCommand of ssh's config here ended/);
  match(
    explain({ code: 255, stderr: expired }, target, SSH, { view }).hint,
    /or on a host that the/,
  );

  const lost = { ...jump, knownHosts: [], uselessKnownHosts: ["/dev/null"] };
  match(
    explain({ code: 255, stderr: "Host key verification failed.\n" }, target, SSH, {
      jumps: [lost],
    }).hint,
    /line of gate\.example\.org into "\/etc\/ssh\/ssh_known_hosts" \("\/dev\/null" is none/,
  );
});

Deno.test("ssh's config is given to root by root alone", () => {
  const stderr = "Bad owner or permissions on /home/a b/.ssh/config\n";
  const hintFor = (uid: number) => explain({ code: 255, stderr }, target, SSH, { uid }).hint;
  equal(hintFor(0), "chown root '/home/a b/.ssh/config'; chmod 600 '/home/a b/.ssh/config'");
  match(hintFor(1000), /\(user 1000\).*: chmod 600 '\/home\/a b\/\.ssh\/config'$/);
});
