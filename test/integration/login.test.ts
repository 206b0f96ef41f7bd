/** Every command logs in: by address, flags and environment, with TLS too; and secrets are never shown. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { nkeys } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Bus, type BusOptions } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { Client } from "../../src/client/client.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { freePort, serverBinary, startTestServer } from "../support/nats.ts";
import { type Running, startCli, toEnd } from "../support/process.ts";
import { silent } from "../support/system.ts";
import { within } from "../support/waiting.ts";

const test = suite("login");
const openssl = (...args: string[]) => promisify(execFile)("openssl", args);
/** Begins with digits, and has what addresses are made of. */
const PASSWORD = "4711:s3cr3t@/,%";
const ENCODED = encodeURIComponent(PASSWORD);
const TOKEN = "t0psecret";
const USERS = `authorization { users: [{ user: "ann", password: ${JSON.stringify(PASSWORD)} }] }`;

let folder: string;
const servers: EmbeddedServer[] = [];

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "async-test-"));
  await makeCertificates();
});
test.after(async () => {
  for (const server of servers) await server.close();
  await rm(folder, { recursive: true });
});

const at = (name: string) => join(folder, name);

async function serverWith(extraConfig: string): Promise<EmbeddedServer> {
  const server = await startTestServer({ extraConfig });
  servers.push(server);
  return server;
}

/** An authority, and certificates of a server at 127.0.0.1 and of a client. */
async function makeCertificates(): Promise<void> {
  const authority = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-ca"];
  await openssl("req", ...authority, "-keyout", at("ca.key"), "-out", at("ca.pem"));
  await writeFile(at("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1");
  for (const name of ["server", "client"]) {
    const request = ["-newkey", "rsa:2048", "-nodes", "-subj", `/CN=${name}`];
    await openssl("req", ...request, "-keyout", at(`${name}.key`), "-out", at(`${name}.csr`));
    const signing = [
      "-CA",
      at("ca.pem"),
      "-CAkey",
      at("ca.key"),
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      at("san"),
    ];
    await openssl("x509", "-req", "-in", at(`${name}.csr`), ...signing, "-out", at(`${name}.pem`));
  }
}

/** A server that speaks TLS: started by hand, because an embedded one is asked for an answer in plain text. */
async function tlsServer(name: string, more: string): Promise<{ port: number; close: () => Promise<void> }> {
  const port = await freePort();
  const config = `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${at(name)}" }\n${tlsBlock(more)}`;
  await writeFile(at(`${name}.conf`), config);
  const child = spawn(serverBinary.path, ["-c", at(`${name}.conf`)], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  const ready = new Promise<void>((resolve) => {
    child.stderr.on("data", (text) => String(text).includes("Server is ready") && resolve());
  });
  await within(20_000, "the TLS server", Promise.race([ready, exited]));
  const close = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  return { port, close };
}

const tlsBlock = (more = "") =>
  `tls { cert_file: "${at("server.pem")}", key_file: "${at("server.key")}", ca_file: "${at("ca.pem")}"${more} }`;

/** Runs a command to its end. */
const run = (args: string[], env: Record<string, string> = {}) => toEnd(startCli(args, env));

async function letsIn(options: Partial<BusOptions>): Promise<void> {
  const bus = await Bus.open({ name: "test", ...options });
  await bus.close();
}

test("user and password in the address let every command in, and are shown by none", async () => {
  const { port } = await serverWith(USERS);
  const nats = `nats://ann:${ENCODED}@127.0.0.1:${port}`;
  const outputs: string[] = [];
  const started: Running[] = [];
  try {
    const server = await startCli(["server", "--http", "127.0.0.1:0", "--nats", nats]);
    started.push(server);
    await server.line("Server listening");
    const worker = await startCli(["worker", "workers/example.ts"], { NATS_URL: nats });
    started.push(worker);
    await worker.line("serving");
    const commands = [["submit", "examples/jobs/sum.json", "--wait"], ["list"], ["workers"], ["doctor"]];
    for (const args of commands) {
      const { code, output } = await run(args, { NATS_URL: nats });
      assert.is(code, 0, `${args.join(" ")}: ${output}`);
      outputs.push(output);
    }
    const title = await readFile(`/proc/${server.child.pid}/cmdline`, "utf8");
    assert.not.match(title, ENCODED, "ps shows the password");
    outputs.push(server.output(), worker.output());
    for (const output of outputs) assert.not(output.includes("4711") || output.includes("s3cr3t"), output);
  } finally {
    for (const one of started.reverse()) await one.kill();
  }
});

test("flags, environment and options of the SDK let in; flags go first, then the address", async () => {
  const { port, url } = await serverWith(USERS);
  const good = { ASYNC_NATS_USER: "ann", ASYNC_NATS_PASSWORD: PASSWORD };
  const bad = { ASYNC_NATS_USER: "ann", ASYNC_NATS_PASSWORD: "old" };
  const flags = ["--user", "ann", "--password", PASSWORD];
  const tries: [string[], Record<string, string>, number][] = [
    [["workers", "--nats", url], good, 0],
    [["workers", "--nats", url, ...flags], bad, 0],
    [["workers", "--nats", `nats://ann:${ENCODED}@127.0.0.1:${port}`], bad, 0],
    [["workers", "--nats", `nats://ann:old@127.0.0.1:${port}`, ...flags], {}, 0],
    [["workers", "--nats", url], bad, 3],
    [["workers", "--nats", url, "--token", "x", "--user", "ann"], {}, 2],
  ];
  const results = await Promise.all(tries.map(([args, env]) => run(args, env)));
  results.forEach(({ code, output }, index) => {
    assert.is(code, tries[index]?.[2], `${tries[index]?.[0].join(" ")}: ${output}`);
  });
  const client = await Client.connect({ url, user: "ann", password: PASSWORD });
  assert.is(client.bus.url, url);
  await client.close();
  const worker = new Worker({ url, log: silent, bus: { user: "ann", password: PASSWORD } }).func("x", () => 1);
  await worker.start();
  await worker.close();
});

test("a wrong password ends a command with 3 and a clear text without it", async () => {
  const { port } = await serverWith(USERS);
  const nats = `nats://ann:4712hidden@127.0.0.1:${port}`;
  const commands = [["list"], ["worker", "workers/example.ts"], ["server", "--no-http"], ["doctor"]];
  for (const { code, output } of await Promise.all(commands.map((args) => run([...args, "--nats", nats])))) {
    assert.is(code, 3, output);
    assert.match(output, "does not let us in");
    assert.match(output, "check user and password");
    assert.not.match(output, "hidden");
    assert.not.match(output, / at .*:\d+:\d+/, "no stack");
  }
});

test("a token lets in, in the address and as an option", async () => {
  const { port, url } = await serverWith(`authorization { token: "${TOKEN}" }`);
  await letsIn({ url: `nats://${TOKEN}@127.0.0.1:${port}` });
  await letsIn({ url, token: TOKEN });
  assert.is((await run(["workers", "--nats", url], { ASYNC_NATS_TOKEN: TOKEN })).code, 0);
});

test("an NKey lets in, as seed and as file", async () => {
  const pair = nkeys.createUser();
  const seed = new TextDecoder().decode(pair.getSeed());
  const { url } = await serverWith(`authorization { users: [{ nkey: ${pair.getPublicKey()} }] }`);
  await writeFile(at("nkey"), `${seed}\n`);
  await letsIn({ url, nkey: seed });
  assert.is((await run(["workers", "--nats", url, "--nkey", at("nkey")])).code, 0);
  assert.is((await run(["workers", "--nats", url])).code, 3);
});

test("TLS with an authority of one's own, also with a certificate to show, also before anything else", async () => {
  const server = await tlsServer("tls", ", verify: true");
  const { port } = server;
  const tls = { tlsCa: at("ca.pem"), tlsCert: at("client.pem"), tlsKey: at("client.key") };
  for (const host of ["127.0.0.1", "localhost"]) await letsIn({ url: `tls://${host}:${port}`, ...tls });
  const flags = ["--tls-ca", at("ca.pem"), "--tls-cert", at("client.pem"), "--tls-key", at("client.key")];
  const nats = `nats://127.0.0.1:${port}`;
  assert.is((await run(["workers", "--nats", nats, ...flags])).code, 0);
  const env = { ASYNC_NATS_TLS_CA: tls.tlsCa, ASYNC_NATS_TLS_CERT: tls.tlsCert, ASYNC_NATS_TLS_KEY: tls.tlsKey };
  assert.is((await run(["workers", "--nats", nats], env)).code, 0);
  const unknown = await run(["workers", "--nats", nats]);
  assert.is(unknown.code, 3);
  assert.match(unknown.output, "--tls-ca");

  await server.close();

  const first = await tlsServer("tls-first", ", handshake_first: true");
  await letsIn({ url: `nats://127.0.0.1:${first.port}`, tlsCa: at("ca.pem"), tlsFirst: true });
  await first.close();
});

test("a server without TLS is refused where TLS is asked for", async () => {
  const { port } = await serverWith("");
  try {
    await letsIn({ url: `tls://127.0.0.1:${port}` });
    assert.unreachable();
  } catch (error) {
    assert.ok(isAsyncError(error, "not_connected"), String(error));
  }
});

test.run();
