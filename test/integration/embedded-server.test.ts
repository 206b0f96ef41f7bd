import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, chmod, mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type EmbeddedServerOptions, startEmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { startGuard } from "../../src/bus/server/guard.ts";
import { commandsOfGroup } from "../../src/bus/server/store-lock.ts";
import { type ErrorCode, isAsyncError } from "../../src/job/errors.ts";
import { inTempFolder } from "../support/folder.ts";
import { serverBinary, startTestServer, testBus } from "../support/nats.ts";
import { eventually } from "../support/waiting.ts";

const PARENT = fileURLToPath(new URL("../support/embedded-parent.ts", import.meta.url));

interface Told {
  pid: number;
  url: string;
  storeDir: string;
}

/** A process of its own that has an embedded server. */
async function startParent(options: EmbeddedServerOptions) {
  const args = ["--import", "tsx", PARENT, JSON.stringify({ binary: serverBinary.path, ...options })];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
  const stderr: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => stderr.push(text));
  const exited = once(child, "exit"); // not "close": helpers of the loader may hold its output for longer
  const line = once(createInterface({ input: child.stdout }), "line").then(([text]) => text as string);
  const ended = exited.then((): never => {
    throw new Error(`the parent ended: ${stderr.join("")}`);
  });
  ended.catch(() => {}); // once the line is there, its end is expected
  const told = JSON.parse(await Promise.race([line, ended])) as Told;
  return { child, exited, stderr, ...told, group: await groupOf(told.storeDir) };
}

/** The process group of the server that has the lock. */
async function groupOf(storeDir: string): Promise<number> {
  const [lock = ""] = await locksOf(storeDir);
  return Number.parseInt(await readlink(join(storeDir, lock)), 10);
}

async function locksOf(storeDir: string): Promise<string[]> {
  return (await readdir(storeDir)).filter((name) => name.startsWith("nats-server.lock."));
}

const untilGone = (group: number) =>
  eventually(`the end of group ${group}`, async () => (await commandsOfGroup(group)).length === 0);

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function failsWith(code: ErrorCode, options: EmbeddedServerOptions, ...says: string[]): Promise<void> {
  try {
    await (await startTestServer(options)).close();
  } catch (error) {
    if (!isAsyncError(error, code)) throw error;
    for (const text of says) assert.ok(error.message.includes(text), `"${error.message}" says "${text}"`);
    return;
  }
  assert.unreachable(`started, instead of ${code}`);
}

test("starts on a free port of this machine, with JetStream", async () => {
  await using server = await startTestServer();
  const bus = await testBus(server.url);
  const { info } = bus.nc;
  assert.is(info?.port, server.port);
  assert.is(info?.host, "127.0.0.1");
  assert.is(info?.version, server.version);
  assert.is((await (await jetstreamManager(bus.nc)).getAccountInfo()).streams, 0);
  await bus.close();
});

test("SERVER-5: close() ends the process and removes the temporary folder, and may be called again", async () => {
  const server = await startTestServer();
  const group = await groupOf(server.storeDir);
  await Promise.all([server.close(), server.close()]);
  await server.close();
  const { expected, code, lastLog } = await server.exited;
  assert.equal({ expected, code }, { expected: true, code: 0 });
  assert.match(lastLog.at(-1) ?? "", /Server Exiting/);
  assert.equal(await commandsOfGroup(group), []);
  assert.not(await isThere(server.storeDir));
});

test("keeps the data over a restart on the same folder", () =>
  inTempFolder(async (folder) => {
    const storeDir = join(folder, "made on demand", 'with a "quote"');
    for (const messages of [1, 2, 3]) {
      await using server = await startTestServer({ storeDir });
      const bus = await testBus(server.url);
      const manager = await jetstreamManager(bus.nc);
      if (messages === 1) await manager.streams.add({ name: "KEPT", subjects: ["kept"] });
      await jetstream(bus.nc).publish("kept", "x");
      assert.is((await manager.streams.info("KEPT")).state.messages, messages);
      await bus.close();
    }
    assert.is((await locksOf(storeDir)).length, 1);
  }));

test("the profile sets when writes are synced; further configuration is taken as it is", () =>
  inTempFolder(async (storeDir) => {
    for (const [profile, interval] of [["fast", "1s"] as const, ["safe", "always"] as const]) {
      await using server = await startTestServer({ storeDir, profile, extraConfig: "max_payload: 12345" });
      assert.match(await readFile(join(storeDir, "nats-server.conf"), "utf8"), `sync_interval: ${interval}\n`);
      const bus = await testBus(server.url);
      assert.is(bus.nc.info?.max_payload, 12345);
      await bus.close();
    }
  }));

test("is ready also when its configuration does not let us in", async () => {
  const extraConfig = "authorization { user: someone, password: secret }";
  await using server = await startTestServer({ extraConfig });
  const bus = await testBus(server.url, "test", { user: "someone", pass: "secret" });
  await bus.close();
});

test("G2, GUARD-5: stops in good order when its parent is killed", () =>
  inTempFolder(async (ports) => {
    // The server removes its ports file in an orderly stop only.
    const parent = await startParent({ extraConfig: `ports_file_dir: ${JSON.stringify(ports)}` });
    // It writes the file a moment after it is ready.
    await eventually("the ports file", async () => (await readdir(ports)).length > 0);
    assert.is((await readdir(ports)).length, 1);
    parent.child.kill("SIGKILL");
    await parent.exited;
    await untilGone(parent.group);
    assert.equal(await readdir(ports), []);
    assert.not(await isThere(parent.storeDir), "SERVER-5: the guard removes the folder");
  }));

test("GUARD-2: stops when its parent crashes", async () => {
  const parent = await startParent({});
  parent.child.stdin.end();
  const [code] = await parent.exited;
  assert.is(code, 1);
  await eventually("the report of the crash", () => parent.stderr.join("").includes("a crash on purpose"));
  await untilGone(parent.group);
  assert.not(await isThere(parent.storeDir));
});

test("GUARD-3: says when it was killed, with the end of its log", async () => {
  const server = await startTestServer();
  const group = await groupOf(server.storeDir);
  process.kill(server.pid, "SIGKILL");
  const { lastLog, ...exit } = await server.exited;
  assert.equal(exit, { code: null, signal: "SIGKILL", expected: false });
  assert.match(lastLog.at(-1) ?? "", /Server is ready/);
  assert.equal(await commandsOfGroup(group), []);
  await server.close();
  assert.not(await isThere(server.storeDir));
});

test("G2, GUARD-4: nothing is left when the guard is stopped or killed", async () => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const server = await startTestServer();
    const group = await groupOf(server.storeDir);
    process.kill(group, signal);
    assert.is((await server.exited).expected, false);
    await untilGone(group);
    await server.close();
    assert.not(await isThere(server.storeDir));
  }
});

test("GUARD-2: a server that does not stop is killed", async () => {
  let up = () => {};
  const started = new Promise<void>((resolve) => {
    up = resolve;
  });
  const command = ["/bin/sh", "-c", "trap '' TERM; echo up; exec sleep 60"];
  const guard = await startGuard({ command, stopGraceMs: 1_000, onLog: up });
  guard.go();
  await started;
  await guard.stop();
  assert.equal(await guard.exited, { code: null, signal: "SIGKILL" });
  assert.equal(await commandsOfGroup(guard.pid), []);
});

test("GUARD-1: a guard whose life line ends before it may start has started nothing", async () => {
  const guard = await startGuard({ command: ["/bin/sh", "-c", "echo started"], onLog: assert.unreachable });
  await guard.stop();
  assert.is(await guard.serverPid, undefined);
  assert.equal(await guard.exited, { code: 0, signal: null });
});

test("LOCK-1: a folder in use is refused, at once", () =>
  inTempFolder(async (storeDir) => {
    await using server = await startTestServer({ storeDir });
    await failsWith("store_in_use", { storeDir }, storeDir, String(process.pid));
    const bus = await testBus(server.url); // the one that has it is not disturbed
    await bus.close();
  }));

test("LOCK-2: of many that start on one folder with a stale lock, one gets it", () =>
  inTempFolder(async (storeDir) => {
    await symlink("999999999.999999998", join(storeDir, "nats-server.lock.7"));
    const starts = await Promise.allSettled(Array.from({ length: 8 }, () => startTestServer({ storeDir })));
    const servers = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
    const errors = starts.flatMap((start) => (start.status === "rejected" ? [start.reason] : []));
    await Promise.all(servers.map((server) => server.close()));
    assert.is(servers.length, 1);
    assert.ok(errors.every((error) => isAsyncError(error, "store_in_use")));
  }));

test("LOCK-1: a lock is stale when its process is gone, or is another program by now", () =>
  inTempFolder(async (storeDir) => {
    const other = spawn("sleep", ["60"], { detached: true });
    try {
      await symlink(`${other.pid}.${process.pid}`, join(storeDir, "nats-server.lock.1"));
      await (await startTestServer({ storeDir })).close();
      assert.equal(await locksOf(storeDir), ["nats-server.lock.2"]);
    } finally {
      other.kill();
      await once(other, "close");
    }
  }));

test("LOCK-1, LOCK-3: a folder can be used again after its parent, guard and server were killed, in any combination", () =>
  inTempFolder(async (storeDir) => {
    for (const all of [true, false]) {
      const parent = await startParent({ storeDir });
      parent.child.kill("SIGKILL");
      if (all) process.kill(-parent.group, "SIGKILL");
      await parent.exited;
      await (await startTestServer({ storeDir })).close(); // while the old one may still be about to stop
      await untilGone(parent.group);
    }
  }));

test("SERVER-4: a taken port is named, and nothing is left", () =>
  inTempFolder(async (storeDir) => {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    try {
      await failsWith("port_taken", { storeDir, port }, `port ${port} is taken`, "choose another port");
      assert.equal(await commandsOfGroup(await groupOf(storeDir)), []);
    } finally {
      listener.close();
    }
    await once(listener, "close");
    await (await startTestServer({ storeDir, port })).close();
  }));

test("a folder that cannot be written is named", () =>
  inTempFolder(async (folder) => {
    const file = join(folder, "file");
    await writeFile(file, "");
    await failsWith("store_not_writable", { storeDir: join(file, "store") }, join(file, "store"));
    const storeDir = join(folder, "store");
    await mkdir(storeDir);
    await writeFile(join(storeDir, "jetstream"), "a file where the server wants a folder");
    await failsWith("store_not_writable", { storeDir }, storeDir);
  }));

test("SERVER-4: a server that ends at once is reported with the end of its log", async () => {
  await failsWith("server_exited", { extraConfig: "no_such_setting: 1" }, "with code 1", "no_such_setting");
});

test("a server that is too old, or none at all, is refused before anything is started", () =>
  inTempFolder(async (folder) => {
    const binary = join(folder, "nats-server");
    await failsWith("no_server_binary", { binary }, binary);
    await writeFile(binary, "#!/bin/sh\necho 'nats-server: v2.9.0'\n");
    await chmod(binary, 0o755);
    await failsWith("server_too_old", { binary }, "2.9.0", "2.14");
  }));

test("without a binary given, one is found", async () => {
  await using server = await startEmbeddedServer();
  assert.match(server.version, /^2\./);
});

test.run();
