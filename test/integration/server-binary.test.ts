import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type FindServerOptions, findServerBinary } from "../../src/bus/server/binary.ts";
import { findOnPath } from "../../src/bus/server/programs.ts";
import { RELEASE_VERSION } from "../../src/bus/server/release.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { inTempFolder } from "../support/folder.ts";

/** A machine with nothing on it: no network but loopback, an empty PATH and cache. */
class Machine {
  readonly bin: string;
  readonly cache: string;
  readonly aptFolder: string;
  readonly env: Record<string, string>;
  readonly progress: string[] = [];

  constructor(folder: string, closedPort: number) {
    this.bin = join(folder, "bin");
    this.cache = join(folder, "cache");
    this.aptFolder = join(folder, "etc/apt");
    const nobody = `http://127.0.0.1:${closedPort}`;
    this.env = { PATH: this.bin, ASYNC_CACHE_DIR: this.cache, ASYNC_NATS_DOWNLOAD_URL: nobody };
  }

  find(options: FindServerOptions = {}) {
    const { env, aptFolder } = this;
    const onProgress = (line: string) => this.progress.push(line);
    return findServerBinary({ env, systemFolders: [], aptFolder, onProgress, ...options });
  }

  cached(version: string): string {
    return join(this.cache, "nats-server", version, "nats-server");
  }

  /** Makes programs of the real machine available on this one. */
  async give(...programs: string[]): Promise<void> {
    await mkdir(this.bin, { recursive: true });
    for (const program of programs) {
      const [path] = await findOnPath(program, process.env);
      assert.ok(path, `the tests need ${program}`);
      await symlink(path, join(this.bin, program));
    }
  }

  /** An apt that has this server, and a mirror to ask. */
  async giveApt(version: string): Promise<void> {
    await writeScript(join(this.bin, "apt-get"), `[ "$3" != download ] || : >nats-server_${version}_all.deb`);
    await writeServer(join(this.bin, "packaged"), version);
    const unpack = `PATH=/usr/bin:/bin; mkdir -p "$3/usr/sbin" && cp ${join(this.bin, "packaged")} "$3/usr/sbin/nats-server"`;
    await writeScript(join(this.bin, "dpkg-deb"), unpack);
    await mkdir(this.aptFolder, { recursive: true });
    await writeFile(join(this.aptFolder, "sources.list"), "deb http://127.0.0.1:9/debian bookworm main\n");
  }
}

const onMachine = (use: (machine: Machine) => Promise<void>) => () =>
  inTempFolder(async (folder) => use(new Machine(folder, await closedPort())));

/** A port of loopback where nobody answers. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function writeScript(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
}

const writeServer = (path: string, version: string) => writeScript(path, `echo "nats-server: v${version}"`);

/** Serves a release for this platform as GitHub does. */
async function startReleases(folder: string, version: string, options: { sum?: string; status?: number } = {}) {
  const arch = process.arch === "x64" ? "amd64" : process.arch;
  const name = `nats-server-v${RELEASE_VERSION}-${process.platform}-${arch}`;
  const archive = join(folder, `${name}.tar.gz`);
  await writeServer(join(folder, name, "nats-server"), version);
  await promisify(execFile)("tar", ["-czf", archive, "-C", folder, name]);
  const bytes = await readFile(archive);
  const sum = options.sum ?? createHash("sha256").update(bytes).digest("hex");
  const files = new Map<string | undefined, Buffer>([
    [`/v${RELEASE_VERSION}/SHA256SUMS`, Buffer.from(`${"0".repeat(64)}  other.tar.gz\n${sum}  ${name}.tar.gz\n`)],
    [`/v${RELEASE_VERSION}/${name}.tar.gz`, bytes],
  ]);
  const server = createServer((request, response) => {
    const file = files.get(request.url);
    response.writeHead(options.status ?? (file ? 200 : 404)).end(file);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function refusal(finding: Promise<unknown>, code: "no_server_binary" | "server_too_old"): Promise<string> {
  try {
    await finding;
  } catch (error) {
    if (isAsyncError(error, code)) return error.message;
    throw error;
  }
  return assert.unreachable(`found one, instead of ${code}`) as never;
}

test(
  "PATH: one that is new enough is taken, past one that is too old",
  onMachine(async (machine) => {
    const old = join(machine.bin, "old");
    await writeServer(join(old, "nats-server"), "2.9.0");
    const good = join(machine.bin, "nats-server");
    await writeServer(good, "2.14.0");
    const env = { ...machine.env, PATH: `${old}:${machine.bin}` };
    assert.equal(await machine.find({ env }), { path: good, version: "2.14.0" });
    assert.equal(await machine.find({ env: { ...env, PATH: old }, systemFolders: [machine.bin] }), {
      path: good,
      version: "2.14.0",
    });
    assert.equal(machine.progress, []);
  }),
);

test(
  "cache: the newest that runs is taken",
  onMachine(async (machine) => {
    await writeServer(machine.cached("2.9.25"), "2.9.25");
    await writeServer(machine.cached("2.14.2"), "2.14.2");
    await writeServer(machine.cached("2.15.0"), "2.15.0");
    await writeScript(machine.cached("2.15.10"), "exit 1");
    assert.equal(await machine.find(), { path: machine.cached("2.15.0"), version: "2.15.0" });
  }),
);

test(
  "cache: a server on PATH that is too old is passed over, and mentioned",
  onMachine(async (machine) => {
    const old = join(machine.bin, "nats-server");
    await writeServer(old, "2.9.0");
    await writeServer(machine.cached("2.15.0"), "2.15.0");
    assert.equal(await machine.find(), { path: machine.cached("2.15.0"), version: "2.15.0" });
    assert.equal(machine.progress, [`${old} is nats-server 2.9.0, which is older than 2.14.0; looking further`]);
  }),
);

test("cache: its folder is ASYNC_CACHE_DIR, else async in XDG_CACHE_HOME", () =>
  inTempFolder(async (folder) => {
    const path = join(folder, "async/nats-server/2.15.0/nats-server");
    await writeServer(path, "2.15.0");
    assert.is((await findServerBinary({ env: { XDG_CACHE_HOME: folder }, systemFolders: [] })).path, path);
    const env = { XDG_CACHE_HOME: "/none", ASYNC_CACHE_DIR: join(folder, "async") };
    assert.is((await findServerBinary({ env, systemFolders: [] })).path, path);
  }));

test(
  "release: it is downloaded, checked, put into the cache, and found there the next time",
  onMachine(async (machine) => {
    await machine.give("tar", "gzip");
    await using releases = await startReleases(dirname(machine.bin), "2.15.1");
    const env = { ...machine.env, ASYNC_NATS_DOWNLOAD_URL: `${releases.url}/` };
    const expected = { path: machine.cached("2.15.1"), version: "2.15.1" };
    assert.equal(await machine.find({ env }), expected);
    assert.equal(await machine.find(), expected);
    assert.is(machine.progress.length, 1);
    assert.equal(await readdir(join(machine.cache, "nats-server")), ["2.15.1"], "nothing else is left in the cache");
  }),
);

test(
  "release: several at once all get a whole one",
  onMachine(async (machine) => {
    await machine.give("tar", "gzip");
    await using releases = await startReleases(dirname(machine.bin), "2.15.1");
    const env = { ...machine.env, ASYNC_NATS_DOWNLOAD_URL: releases.url };
    const found = await Promise.all(Array.from({ length: 4 }, () => machine.find({ env })));
    assert.ok(found.every(({ path }) => path === machine.cached("2.15.1")));
    assert.equal(await readdir(join(machine.cache, "nats-server")), ["2.15.1"]);
  }),
);

test(
  "release: one whose sum is wrong is refused, and the next step is tried",
  onMachine(async (machine) => {
    await machine.give("tar", "gzip");
    await using releases = await startReleases(dirname(machine.bin), "2.15.1", { sum: "ab".repeat(32) });
    const env = { ...machine.env, ASYNC_NATS_DOWNLOAD_URL: releases.url };
    assert.match(await refusal(machine.find({ env }), "no_server_binary"), "has the SHA-256 sum");
    assert.equal(await readdir(join(machine.cache, "nats-server")), []);
    await machine.giveApt("2.15.2");
    assert.equal(await machine.find({ env }), { path: machine.cached("2.15.2"), version: "2.15.2" });
  }),
);

test(
  "release: what the server answers instead is told",
  onMachine(async (machine) => {
    await machine.give("tar");
    await using releases = await startReleases(dirname(machine.bin), "2.15.1", { status: 503 });
    const env = { ...machine.env, ASYNC_NATS_DOWNLOAD_URL: releases.url };
    assert.match(await refusal(machine.find({ env }), "no_server_binary"), "HTTP status 503");
  }),
);

test(
  "release: a server that does not answer is given up",
  onMachine(async (machine) => {
    await machine.give("tar");
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const env = {
      ...machine.env,
      ASYNC_NATS_DOWNLOAD_URL: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
    };
    const message = await refusal(machine.find({ env }), "no_server_binary");
    silent.closeAllConnections();
    silent.close();
    assert.match(message, /- release: .*no answer within \d+ ms/);
  }),
);

test(
  "apt: a packaged server that is too old is not installed",
  onMachine(async (machine) => {
    await machine.giveApt("2.10.27");
    assert.match(
      await refusal(machine.find(), "no_server_binary"),
      /- apt: .* is nats-server 2\.10\.27, which is older/,
    );
    assert.equal(await readdir(join(machine.cache, "nats-server")), []);
  }),
);

test(
  "ASYNC_NATS_SERVER: the one demanded is taken or refused, and no other is looked for",
  onMachine(async (machine) => {
    await writeServer(join(machine.bin, "nats-server"), "2.15.0");
    const demanded = join(machine.bin, "mine");
    const env = { ...machine.env, ASYNC_NATS_SERVER: demanded };
    assert.match(await refusal(machine.find({ env }), "no_server_binary"), demanded);
    await writeServer(demanded, "2.9.0");
    assert.match(await refusal(machine.find({ env }), "server_too_old"), "nats-server 2.9.0");
    await writeServer(demanded, "2.14.1");
    assert.equal(await machine.find({ env }), { path: demanded, version: "2.14.1" });
  }),
);

test(
  "when nothing works, every step is named with its reason, and what to do",
  onMachine(async (machine) => {
    await machine.give("tar");
    const old = join(machine.bin, "nats-server");
    await writeServer(old, "2.9.0");
    const message = await refusal(machine.find(), "no_server_binary");
    assert.match(message, `- PATH: ${old} is nats-server 2.9.0, which is older than 2.14.0`);
    assert.match(message, `- cache: there is none in ${join(machine.cache, "nats-server")}`);
    assert.match(message, /- release: .*ECONNREFUSED/);
    assert.match(message, "- apt: there is no apt-get on PATH");
    for (const choice of ["install nats-server", "ASYNC_NATS_SERVER", "NATS_URL", "ASYNC_NATS_DOWNLOAD_URL"]) {
      assert.match(message, choice);
    }
  }),
);

test(
  "a cache that cannot be written is named",
  onMachine(async (machine) => {
    await writeFile(machine.cache, "a file where the folder should be");
    const message = await refusal(machine.find(), "no_server_binary");
    assert.match(message, new RegExp(`- release: .*${machine.cache}`));
  }),
);

const isDebian = /^ID=debian$/m.test(await readFile("/etc/os-release", "utf8").catch(() => ""));

(isDebian ? test : test.skip)(
  "apt: a Debian machine gets a server from its own mirror",
  onMachine(async (machine) => {
    const servers = await findOnPath("nats-server", process.env);
    const folders = (process.env.PATH ?? "")
      .split(":")
      .filter((folder) => !servers.includes(join(folder, "nats-server")));
    const env = { ...machine.env, PATH: folders.join(":") };
    const { path, version } = await machine.find({ env, aptFolder: "/etc/apt" });
    assert.is(path, machine.cached(version));
    assert.equal(await readdir(join(machine.cache, "nats-server")), [version]);
  }),
);

test.run();
