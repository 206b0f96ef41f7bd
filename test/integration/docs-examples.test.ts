/** The examples of the documents do what is said of them there: jobs are submitted, commands run, expressions evaluated. */
import { execFile } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ROOTS } from "../../src/job/expression-library.ts";
import { evaluate, expressionProblem, type Scope, type Values } from "../../src/job/expressions.ts";
import type { Context } from "../../src/worker/context.ts";
import type { Worker } from "../../src/worker/worker.ts";
import { comparable, examplesIn, type Step } from "../support/examples-in-docs.ts";
import { System } from "../support/system.ts";

const test = suite("examples in documents");
let system: System;
let folder: string;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "async-test-"));
  const command = `#!/bin/sh\nexec "${process.execPath}" "${resolve("dist/cli/main.js")}" "$@"\n`;
  await writeFile(join(folder, "async"), command);
  await chmod(join(folder, "async"), 0o755);
  system = await System.start();
  await system.worker((worker) => withLargerOnes(withFunctions(worker)), { concurrency: 20 });
});
test.after(async () => {
  await system.close();
  await rm(folder, { recursive: true });
});

/** As docs/jobs.md describes them, and those of the README. */
function withFunctions(worker: Worker): Worker {
  return worker
    .func("add", ({ args }) => args.a + args.b)
    .func("double", ({ results }) => 2 * Number(results.at(-1)))
    .func("echo", ({ args, results }) => args ?? results)
    .func("key", ({ idempotencyKey }) => idempotencyKey)
    .func("because", ({ error }) => error?.message)
    .func("slow", async ({ args }) => {
      await delay(100);
      return args;
    })
    .func("flaky", ({ attempt }) => {
      if (attempt < 3) throw new Error("not yet");
      return attempt;
    })
    .func("fail", () => {
      throw new Error("no luck");
    })
    .func("reserve-stock", () => true)
    .func("charge", ({ args }) => ({ receipt: `receipt of ${args?.amount}` }))
    .func("ship", ({ args }) => {
      if (args.to === "nowhere") throw new Error("there is no such place");
      return args.receipt;
    })
    .func("send-thanks", ({ result }) => result("ship"));
}

/** As docs/larger-jobs.md describes them. */
function withLargerOnes(worker: Worker): Worker {
  const undone = new Map<string, string[]>();
  const writeDown = ({ jobId }: Context, name: string) => undone.set(jobId, [...(undone.get(jobId) ?? []), name]);
  const failedOnce = new Set<string>();
  return worker
    .func("pick", ({ args }) => {
      if (args.sku === "broken") throw new Error("there is no broken");
      return args.sku.toUpperCase();
    })
    .func("square", ({ item }) => item * item)
    .func("pages", ({ cursor }) => {
      const page = cursor ?? 1;
      const items = [`${page}a.csv`, `${page}b.csv`];
      return page < 3 ? { items, cursor: page + 1 } : { items };
    })
    .func("plan", () => ({ functions: [{ name: "add", args: { a: 20, b: 1 } }, { name: "double" }] }))
    .func("reserve", () => ({ receipt: "reservation" }))
    .func("release", (context) => void writeDown(context, "release"))
    .func("refund", (context) => void writeDown(context, "refund"))
    .func("undone", ({ args }) => undone.get(args))
    .func("flaky-item", ({ jobId, item }) => {
      if (item === 1 && !failedOnce.has(jobId)) {
        failedOnce.add(jobId);
        throw new Error("not this time");
      }
      return item;
    })
    .func("long", () => "x".repeat(300_000));
}

/** What an example has come to. */
interface Progress {
  jobId: string;
  output: string;
  values: Values;
}

async function take(step: Step, so: Progress): Promise<void> {
  switch (step.kind) {
    case "job": {
      await writeFile(join(folder, "job.json"), step.text);
      so.jobId = (await system.client.submit(JSON.parse(step.text))).job_id;
      return;
    }
    case "document":
      await writeFile(join(folder, "job.json"), step.text);
      return;
    case "ends": {
      const job = await system.client.wait(so.jobId, { timeoutMs: 10_000 });
      assert.is(job.state, step.state, JSON.stringify(job.error));
      const outcome = job.state === "failed" ? job.error?.code : JSON.stringify(job.result);
      assert.is(outcome, step.outcome);
      return;
    }
    case "run":
    case "refused": {
      const { code, output } = await shell(step.text);
      assert.is(code, step.kind === "run" ? 0 : 1, output);
      so.output = output;
      return;
    }
    case "output":
      assert.equal(comparable(so.output), comparable(step.text));
      return;
    case "code":
      await runCode(step.text);
      return;
    case "values":
      so.values = JSON.parse(step.text);
      return;
    case "expressions":
      for (const line of step.text.trim().split("\n")) checkExpression(line, so.values);
  }
}

function shell(script: string): Promise<{ code: number; output: string }> {
  const path = `${folder}${delimiter}${process.env.PATH}`;
  const env = { ...process.env, PATH: path, NATS_URL: system.url, NO_COLOR: "1" };
  return new Promise((done) => {
    execFile("sh", ["-ec", script], { cwd: folder, env, timeout: 30_000 }, (error, stdout, stderr) => {
      done({ code: typeof error?.code === "number" ? error.code : error ? -1 : 0, output: stdout + stderr });
    });
  });
}

async function runCode(text: string): Promise<void> {
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (...args: string[]) => Run;
  const expected = /\/\/ → (.*)$/.exec(text.trim())?.[1];
  assert.ok(expected, "its last line says what it gives");
  assert.is(JSON.stringify(await new AsyncFunction("client", text)(system.client)), expected);
}
type Run = (client: System["client"]) => Promise<unknown>;

/** One that names an entry names one that the job does not have. */
const SCOPE: Scope = { names: new Set(ROOTS), entries: () => "unknown", ids: () => [] };

function checkExpression(line: string, values: Values): void {
  const [, text = "", outcome = "", why] = /^(.*\S)\s+→ (?:(fails|refused): (.*)|.*)$/.exec(line) ?? [];
  const expected = line.split("→ ")[1];
  assert.ok(text, line);
  const problem = expressionProblem(text, SCOPE);
  if (outcome === "refused") {
    assert.ok(problem?.includes(why ?? ""), `${text}: ${problem}`);
    return;
  }
  assert.is(problem, undefined, text);
  if (outcome === "fails") assert.throws(() => evaluate(text, values), why);
  else assert.is(JSON.stringify(evaluate(text, values)), expected, text);
}

for (const page of ["docs/jobs.md", "docs/larger-jobs.md", "docs/definitions.md", "README.md"]) {
  for (const steps of examplesIn(await readFile(page, "utf8"))) {
    test(`${page}:${steps[0]?.line} does what is said of it`, async () => {
      const so: Progress = { jobId: "", output: "", values: {} };
      for (const step of steps) await take(step, so);
    });
  }
}

test.run();
