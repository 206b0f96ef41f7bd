/** The `async` command as people and scripts use it: as it is built, which starts many times faster than from source. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../src/bus/messages/codec.ts";
import { createProgram } from "../../src/cli/program.ts";
import { type Running, startBuiltCli as startCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("cli");
let system: System;
let folder: string;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "async-test-"));
  system = await System.start();
  await system.worker(
    (w) =>
      w
        .func("sum", ({ args }) => args.reduce((a: number, b: number) => a + b, 0))
        .func("fail", () => {
          throw new Error("as it should");
        }),
    { name: "cli-test" },
  );
});
test.after(async () => {
  await system.close();
  await rm(folder, { recursive: true });
});

const run = (args: string[], { env = {}, input }: { env?: Record<string, string>; input?: string } = {}) =>
  toEnd(startCli(args, { NATS_URL: system.url, ...env }), input);

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

const SUM = '{"name":"sum","functions":[{"name":"sum","args":[1,2,39]}]}';

test("submit --wait --json prints the finished job and exits with 0", async () => {
  const { code, output } = await run(["submit", await file("sum.json", SUM), "--wait", "--json"]);
  assert.is(code, 0, output);
  const job = JSON.parse(output);
  assert.is(job.state, "completed");
  assert.is(job.result, 42);
});

test("submit reads standard input, takes an id, and prints a table", async () => {
  const { code, output } = await run(["submit", "-", "--id", "by-hand", "--wait"], { input: SUM });
  assert.is(code, 0, output);
  assert.match(output, /job +by-hand/);
  assert.match(output, /state +completed/);
  assert.match(output, /sum +1\/1 +42/);
});

test("submit takes a file in MessagePack", async () => {
  const packed = await file("sum.msgpack", encode(JSON.parse(SUM), "msgpack"));
  const { code, output } = await run(["submit", packed, "--wait", "--json"]);
  assert.is(code, 0, output);
  assert.is(JSON.parse(output).result, 42);
});

test("submit --wait exits with 1 when the job fails", async () => {
  const { code, output } = await run(["submit", "-", "--wait"], {
    input: '{"name":"f","functions":[{"name":"fail"}]}',
  });
  assert.is(code, 1);
  assert.match(output, "as it should");
});

test("get shows a job, and says so when there is none", async () => {
  await system.client.submit(JSON.parse(SUM), { jobId: "shown" });
  await system.client.wait("shown");
  const { code, output } = await run(["get", "shown", "--json"]);
  assert.is(code, 0);
  assert.equal(JSON.parse(output), JSON.parse(JSON.stringify(await system.client.get("shown"))));
  const missing = await run(["get", "not-there"]);
  assert.is(missing.code, 1);
  assert.match(missing.output, "job_not_found");
});

test("list filters by state, as a table and as JSON", async () => {
  await system.client.submit({ name: "failing", functions: [{ name: "fail" }] }, { jobId: "listed" });
  await system.client.wait("listed");
  const json = await run(["list", "--state", "failed", "--json"]);
  assert.is(json.code, 0);
  const { jobs } = JSON.parse(json.output) as { jobs: { job_id: string; state: string }[] };
  assert.ok(jobs.some((job) => job.job_id === "listed"));
  assert.ok(jobs.every((job) => job.state === "failed"));
  const table = await run(["list", "--state", "failed"]);
  assert.match(table.output, /^JOB +NAME +STATE/);
  assert.match(table.output, /listed +failing +failed/);
});

test("workers lists who serves what", async () => {
  const json = await run(["workers", "--json"]);
  assert.is(json.code, 0);
  assert.equal(JSON.parse(json.output).workers[0].Capabilities, ["sum", "fail"]);
  assert.match((await run(["workers"])).output, /cli-test +idle +0\/2/);
});

test("wrong use exits with 2 and says what is wrong", async () => {
  const wrong: [string[], string | RegExp][] = [
    [["no-such-command"], "unknown command"],
    [["submit"], "missing required argument"],
    [["list", "--state", "happy"], "Allowed choices are"],
    [["server", "--http", "nonsense"], "host:port"],
    [["worker", "x.ts", "--concurrency", "0"], "integer from 1"],
    [["submit", join(folder, "missing.json")], "cannot read the job"],
    [["submit", await file("bad.json", '{"functions":[{"name":"x"}]}')], /\/name +is required/],
    [["submit", await file("broken.json", "{")], "not valid JSON"],
    [["get", "not an id"], "job id"],
    [["worker", await file("empty.mjs", "export const x = 1;")], "does not export a worker"],
    [["worker", join(folder, "missing.ts")], "there is no such file"],
    [["worker", await file("syntax.mjs", "\nconst x = 1 +;")], /syntax\.mjs:2\nconst x = 1 \+;/],
    [["worker", await file("throws.mjs", "\n  nothing();")], /nothing is not defined at .*throws\.mjs:2:3/],
  ];
  const results = await Promise.all(wrong.map(([args]) => run(args)));
  results.forEach(({ code, output }, index) => {
    const [args, text] = wrong[index] as (typeof wrong)[number];
    assert.is(code, 2, `${args.join(" ")}: ${output}`);
    assert.match(output, text);
  });
});

test("without NATS every command exits with 3 and says what to do", async () => {
  const commands = [
    ["get", "x"],
    ["list"],
    ["workers"],
    ["submit", await file("sum.json", SUM)],
    ["server", "--no-http"],
  ];
  for (const args of commands) {
    const { code, output } = await run([...args, "--nats", "nats://127.0.0.1:1"]);
    assert.is(code, 3, `${args.join(" ")}: ${output}`);
    assert.match(output, "cannot reach a NATS server");
  }
});

test("every command has help, with examples that it understands", async () => {
  const { commands } = createProgram();
  assert.ok(commands.length >= 11);
  for (const command of commands) {
    let help = "";
    command.configureOutput({
      writeOut: (text) => {
        help += text;
      },
    });
    command.outputHelp();
    assert.match(help, `Usage: async ${command.name()}`);
    const examples = [...help.matchAll(/^ {2}async (.*)$/gm)].map(([, line = ""]) =>
      line.replace(/ < .*/, "").split(" "),
    );
    assert.ok(examples.length > 0, command.name());
    for (const [name, ...args] of examples) {
      assert.is(name, command.name());
      assert.equal(command.parseOptions(args).unknown, [], help);
    }
  }
  const { code, output } = await run(["submit", "--help"]);
  assert.is(code, 0);
  assert.match(output, /Examples:\n {2}async submit job\.json --wait/);
  assert.match((await run(["events", "--help"])).output, /that it\s+completed\s+only\s+with\s+--store-completed/);
  const { version } = JSON.parse(await readFile("package.json", "utf8"));
  assert.equal(await run(["--version"]), { code: 0, output: version });
});

test("files as editors save them are read, others refused, and what has ended is no wrong use", async () => {
  const bytes = (text: string, encoding: BufferEncoding) => Buffer.from(`\ufeff${text}`, encoding);
  const files: [string, Uint8Array, number][] = [
    ["mark.json", bytes(SUM.replaceAll(",", ",\r\n"), "utf8"), 0],
    ["cr.json", Buffer.from(`\r${SUM.replaceAll(",", ",\r")}\r`), 0],
    ["utf16.json", bytes(SUM, "utf16le"), 2],
    ["utf16be.json", bytes(SUM, "utf16le").swap16(), 2],
    ["utf16-without-mark.json", Buffer.from(SUM, "utf16le"), 2],
    ["latin1.json", Buffer.from(SUM.replace("sum", "s\u00fcm"), "latin1"), 2],
    ["picture.png", Buffer.from("89504e470d0a1a0a0000000d49484452", "hex"), 2],
    ["archive.gz", Buffer.from("1f8b0800000000000003", "hex"), 2],
    ["empty.json", Buffer.alloc(0), 2],
  ];
  const results = await Promise.all(files.map(async ([name, content]) => run(["submit", await file(name, content)])));
  results.forEach(({ code, output }, index) => {
    assert.is(code, files[index]?.[2], output);
    if (code === 2) assert.match(output, /holds no job: (it is (in UTF-16|not in UTF-8|empty)|not valid MessagePack)/);
  });
  await system.client.submit(JSON.parse(SUM), { jobId: "over" });
  await system.client.wait("over");
  const cancelled = await run(["cancel", "over"]);
  assert.is(cancelled.code, 1, cancelled.output);
  assert.match(cancelled.output, "job_ended");
});

test("a reader that has enough ends a command in silence, and a module that throws shows no stack", async () => {
  const cli = await startCli(["list", "--json"], { NATS_URL: system.url });
  cli.child.stdout?.destroy();
  assert.is(await cli.exit(), 0, cli.output());
  assert.is(cli.output(), "");
  const throwing = await file("throws.mjs", 'throw new Error("not today");');
  const { code, output } = await run(["worker", throwing]);
  assert.is(code, 2);
  assert.match(output, "not today");
  assert.not.match(output, /^ +at /m);
});

test("one worker process serves several modules, and its log is JSON unless it is asked for otherwise", async () => {
  const source = (name: string) => `import { Worker } from "${new URL("../../dist/index.js", import.meta.url)}";
export default new Worker().func("${name}", ({ log }) => { log.info("in " + "${name}"); return "${name}"; });`;
  const modules = [await file("first.mjs", source("first")), await file("second.mjs", source("second"))];
  const run = async (env: Record<string, string>) => {
    const worker = await startCli(["worker", ...modules], { NATS_URL: system.url, ...env });
    try {
      for (const name of ["first", "second"]) {
        assert.is(await system.client.run({ name, functions: [{ name }] }, { timeoutMs: 10_000 }), name);
      }
      return [await worker.line("in first"), await worker.line("in second")];
    } finally {
      await worker.kill();
    }
  };
  for (const line of await run({})) assert.is(JSON.parse(line).fn, /in (\w+)/.exec(line)?.[1]);
  for (const line of await run({ ASYNC_LOG_FORMAT: "pretty" })) {
    assert.match(line, /^\d\d:\d\d:\d\d\.\d{3} INFO {2}in \w+ {2}jobId=\S+ fn=\w+ attempt=1/);
  }
  for (const env of [{ ASYNC_LOG_FORMAT: "fancy" }, { ASYNC_LOG_LEVEL: "loud" }]) {
    const worker = await startCli(["worker", ...modules], { NATS_URL: system.url, ...env });
    assert.is(await worker.exit(), 2, worker.output());
  }
});

test("SIGINT and SIGTERM together are one request: the attempt ends; so is SIGHUP", async () => {
  const source = `import { Worker } from "${new URL("../../dist/index.js", import.meta.url)}";
export default new Worker().func("slow", () => new Promise((resolve) => setTimeout(resolve, 2_000, "slept")));`;
  const module = await file("slow.ts", source);
  for (const signals of [["SIGINT", "SIGTERM"], ["SIGHUP"]] as const) {
    const worker = await startCli(["worker", module], { NATS_URL: system.url, ASYNC_LOG_LEVEL: "debug" });
    await worker.line("serving");
    const { job_id } = await system.client.submit({ name: "slow", functions: [{ name: "slow" }] });
    await worker.line("executing");
    for (const signal of signals) worker.child.kill(signal);
    assert.is(await worker.exit(), 0, worker.output());
    const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
    assert.is(job.result, "slept");
    assert.is(job.functions[0]?.lost_count ?? 0, 0);
  }
});

/** What a worker process replies to an invocation by hand, heartbeats left out, and how it ends when it gets SIGTERM meanwhile. */
async function interruptedBy(
  args: string[],
  env: Record<string, string>,
): Promise<{ body: unknown; code: number | null }> {
  const source = (name: string) => `import { Worker } from "${new URL("../../dist/index.js", import.meta.url)}";
export default new Worker().func("${name}", () => new Promise(() => setInterval(() => {}, 1_000)));`;
  const modules = [await file("endless.mjs", source("endless")), await file("endless2.mjs", source("endless.too"))];
  const worker = await startCli(["worker", ...modules, ...args], {
    NATS_URL: system.url,
    ASYNC_LOG_LEVEL: "debug",
    ...env,
  });
  try {
    await worker.line('"endless.too"');
    const answers = ["endless", "endless.too"].map((fn) => {
      const inbox = `_INBOX_async.test.${fn}`;
      const body = {
        job_id: "j",
        job_name: "n",
        function: fn,
        index: 0,
        attempt: 1,
        args: null,
        data: null,
        results: [],
      };
      return new Promise<{ body: unknown; at: number }>((resolve) => {
        const subscription = system.bus.nc.subscribe(inbox, {
          callback: (_, message) => {
            if (message.headers?.get("Async-Status") === "heartbeat") return;
            subscription.unsubscribe();
            resolve({ body: message.json(), at: performance.now() });
          },
        });
        system.bus.nc.publish(`fn.${fn}`, JSON.stringify(body), { reply: inbox });
      });
    });
    await eventually("both run", () => worker.output().split('"executing"').length === 3);
    worker.child.kill("SIGTERM");
    const [one, other] = await within(15_000, "both answers", Promise.all(answers));
    // The workers of a process have one grace together.
    assert.ok(Math.abs((one?.at ?? 0) - (other?.at ?? 0)) < 900);
    return { body: one?.body, code: await worker.exit() };
  } finally {
    await worker.kill();
  }
}

test("--grace, else ASYNC_GRACE, says how long attempts may take to end; what does not is interrupted, and that is no failure", async () => {
  const message = (ms: number) =>
    `the worker was told to stop, and the attempt did not end within its grace period of ${ms} ms`;
  const interrupted = (ms: number) => ({ name: "Interrupted", message: message(ms), interrupted: true });
  const flag = await interruptedBy(["--grace", "1s"], { ASYNC_GRACE: "1h" });
  assert.equal(flag, { body: interrupted(1_000), code: 0 });
  assert.equal(await interruptedBy([], { ASYNC_GRACE: "0s" }), { body: interrupted(0), code: 0 });
});

test("--grace is that of the functions which a server executes itself, too", async () => {
  const own = await System.start("without supervisor");
  const source = `import { Worker } from "${new URL("../../dist/index.js", import.meta.url)}";
export default new Worker().func("within", () => new Promise(() => setInterval(() => {}, 1_000)));`;
  const args = ["server", await file("within.mjs", source), "--no-http", "--grace", "1s"];
  const server = await startCli(args, { NATS_URL: own.url, ASYNC_LOG_LEVEL: "debug" });
  try {
    await server.line("supervisor is running");
    await own.client.submit({ name: "within", functions: [{ name: "within" }] });
    await server.line('"executing"');
    const told = performance.now();
    server.child.kill("SIGTERM");
    assert.is(await server.exit(), 0, server.output());
    assert.ok(performance.now() - told < 6_000, "it took the default grace");
    assert.match(server.output(), /"graceMs":1000,.*"draining"/);
  } finally {
    await server.kill();
    await own.close();
  }
});

test("a --grace that is no time, or longer than a timer can be set for, is wrong use, of every command that has it", async () => {
  for (const command of [["worker", "any.ts"], ["server"], ["dev"]]) {
    for (const grace of ["much", "5", "-1s", "25d"]) {
      const { code, output } = await run([...command, "--grace", grace]);
      assert.is(code, 2, output);
      assert.match(output, /'--grace <time>' argument '\S+' is invalid\. It must be/);
    }
  }
});

test("what nobody catches ends a worker with 1, but lets other attempts end before; those that stay are lost", async () => {
  const source = `import { Worker } from "${new URL("../../dist/index.js", import.meta.url)}";
setInterval(() => {}, 1_000);
export default new Worker({ concurrency: 3 })
  .func("bystander", () => new Promise((resolve) => setTimeout(resolve, 1_500, "unharmed")))
  .func("culprit", () => new Promise(() => setTimeout(() => Promise.reject(new Error("nobody catches this")), 1)));`;
  // With a grace that is over before, too: what is interrupted would be begun again.
  const env = { NATS_URL: system.url, ASYNC_GRACE: "1s" };
  const worker = await startCli(["worker", await file("culprit.mjs", source)], env);
  await worker.line("serving");
  const submit = (name: string) => system.client.submit({ name, functions: [{ name }] });
  const bystander = await submit("bystander");
  await eventually("it runs", async () => (await system.client.get(bystander.job_id)).state === "running");
  const culprit = await submit("culprit");
  assert.is(await worker.exit(), 1, worker.output());
  const [fatal, ...more] = worker
    .output()
    .split("\n")
    .filter((line) => line.includes('"level":60'));
  assert.match(JSON.parse(fatal ?? "{}").err.message, "nobody catches this");
  assert.equal(more, []);
  const job = await system.client.wait(bystander.job_id, { timeoutMs: 10_000 });
  assert.is(job.result, "unharmed");
  assert.is(job.functions[0]?.retry_count, 1);
  // It is not interrupted, or it would end one worker after the other for ever.
  await eventually("it has been lost", async () => {
    const { functions } = await system.client.get(culprit.job_id);
    return (functions[0]?.lost_count ?? 0) === 1;
  });
  await system.client.cancel(culprit.job_id);
});

test("server and worker run from the command line until SIGTERM, and exit with 0", async () => {
  await using own = { ...(await startOwn()), [Symbol.asyncDispose]: async () => closeOwn(own) };
  const { output } = await run(["submit", "examples/jobs/sum.json", "--wait", "--json"], {
    env: { NATS_URL: own.url },
  });
  assert.is(JSON.parse(output).result, 10);
  for (const one of own.processes) {
    one.child.kill("SIGTERM");
    assert.is(await one.exit(), 0, one.output());
    assert.not.match(one.output(), /warning/i);
  }
});

interface Own {
  url: string;
  processes: Running[];
  close: () => Promise<void>;
}

/** A server and a worker as processes, on a NATS server of their own. */
async function startOwn(): Promise<Own> {
  const other = await System.start("without supervisor");
  const server = await startCli(["server", "--http", "127.0.0.1:0"], { NATS_URL: other.url });
  await server.line("Server listening");
  const worker = await startCli(["worker", "workers/example.ts", "--concurrency", "3", "--name", "own"], {
    NATS_URL: other.url,
  });
  await worker.line("serving");
  return { url: other.url, processes: [server, worker], close: () => other.close() };
}

async function closeOwn(own: Own): Promise<void> {
  for (const one of own.processes) await one.kill();
  await own.close();
}

test("what was started with a channel to a process that is gone by then does not stay", async () => {
  const child = fork("src/cli/main.ts", ["server", "--no-http"], {
    execArgv: ["--import", "tsx"],
    env: { ...process.env, NATS_URL: system.url },
    silent: true,
  });
  child.disconnect();
  try {
    assert.equal(await within(20_000, "its end", once(child, "exit")), [0, null]);
  } finally {
    child.kill("SIGKILL");
  }
});

test("dev runs everything, keeps its jobs over a restart, and takes everything with it when it ends", async () => {
  const args = [
    "dev",
    "workers/example.ts",
    "--http",
    "127.0.0.1:0",
    "--nats-port",
    "0",
    "--store-dir",
    join(folder, "store"),
  ];
  const start = async () => {
    const dev = await startCli(args);
    const url = /at (nats:\S+?),/.exec(await dev.line("jobs kept in"))?.[1] ?? "";
    await dev.line("serving");
    return { dev, url };
  };
  const first = await start();
  const { code } = await run(["submit", "examples/jobs/sum.json", "--id", "kept", "--wait"], {
    env: { NATS_URL: first.url },
  });
  assert.is(code, 0);
  await first.dev.line("kept");
  first.dev.child.kill("SIGINT");
  assert.is(await first.dev.exit(), 0, first.dev.output());
  await goneFrom(first.url);

  const second = await start();
  const kept = await run(["get", "kept", "--json"], { env: { NATS_URL: second.url } });
  assert.is(JSON.parse(kept.output).result, 10);
  second.dev.child.kill("SIGKILL");
  await second.dev.exit();
  await goneFrom(second.url);
});

/** Nobody listens there any more. */
async function goneFrom(url: string): Promise<void> {
  await eventually(`the server at ${url} is gone`, async () => {
    try {
      await (await connect({ servers: url, reconnect: false, timeout: 500 })).close();
      return false;
    } catch {
      return true;
    }
  });
}

test.run();
