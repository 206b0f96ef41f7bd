/**
 * A process of its own that serves `honest`, submits jobs of it one after the other, and watches whether `/readyz` tells the truth:
 * whoever attacks must not share an event loop with who is measured.
 *
 * Usage: node innocent.ts <nats url> <bridge url>. A line `begin` on standard input begins a measurement, `end` prints it.
 */
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { Client } from "../../src/client/client.ts";
import { messageOf } from "../../src/job/errors.ts";
import { Worker } from "../../src/worker/worker.ts";

/** What the innocent have seen, as it is printed. */
export interface Seen {
  /** From submission to result, in ms, in their order. */
  latenciesMs: number[];
  /** Jobs that gave no result, or another one. */
  failures: string[];
  /** Where `/readyz` said one thing and a submission another. */
  lies: string[];
  /** How often it was not ready, and the last reason. */
  unready: number;
  reason?: string;
}

const PAUSE_MS = 10;
/** Each so-manieth look is one over HTTP. */
const HTTP_EACH = 5;
const RUN_LIMIT_MS = 60_000;

const [url = "", http = ""] = process.argv.slice(2);
const worker = new Worker({ url, name: "innocent", concurrency: 4, log: pino({ level: "silent" }) });
await worker.func("honest", ({ args }) => args).start();
const client = await Client.connect({ url });
let seen = nothing();
let measuring = false;
let rounds = 0;

function nothing(): Seen {
  return { latenciesMs: [], failures: [], lies: [], unready: 0 };
}

async function runOne(into: Seen): Promise<void> {
  const args = { n: rounds };
  const begun = performance.now();
  try {
    const result = await client.run(
      { name: "innocent", functions: [{ name: "honest", args }] },
      { timeoutMs: RUN_LIMIT_MS },
    );
    if (JSON.stringify(result) !== JSON.stringify(args))
      into.failures.push(`another result: ${JSON.stringify(result)}`);
  } catch (error) {
    into.failures.push(`after ${Math.round(performance.now() - begun)} ms: ${messageOf(error)}`);
  }
  into.latenciesMs.push(performance.now() - begun);
}

async function readiness(): Promise<{ ready: boolean; reason?: string; status: number }> {
  const response = await fetch(`${http}/readyz`);
  const body = (await response.json()) as { ready: boolean; reason?: string };
  return { ...body, status: response.status };
}

/** A submission over HTTP, between two looks at `/readyz`. */
async function lookOverHttp(into: Seen): Promise<void> {
  try {
    const before = await readiness();
    const response = await fetch(`${http}/v1/job`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name: "innocent", functions: [{ name: "honest" }] }),
    });
    const text = await response.text();
    const after = await readiness();
    if (before.ready !== (before.status === 200)) into.lies.push(`status ${before.status} with ready: ${before.ready}`);
    if (!before.ready) into.unready += 1;
    if (before.reason !== undefined) into.reason = before.reason;
    if (before.ready && after.ready && response.status !== 200)
      into.lies.push(`ready, and yet ${response.status} ${text}`);
    if (!before.ready && before.reason === undefined) into.lies.push("not ready, without a reason");
  } catch (error) {
    into.lies.push(`the bridge did not answer: ${messageOf(error)}`);
  }
}

async function measure(): Promise<void> {
  const into = seen;
  while (measuring) {
    rounds += 1;
    await runOne(into);
    if (rounds % HTTP_EACH === 0) await lookOverHttp(into);
    await delay(PAUSE_MS);
  }
}

let running: Promise<void> = Promise.resolve();
createInterface({ input: process.stdin }).on("line", async (line) => {
  if (line === "begin") {
    seen = nothing();
    measuring = true;
    running = measure();
  } else if (line === "end") {
    measuring = false;
    await running;
    process.stdout.write(`seen ${JSON.stringify(seen)}\n`);
  } else process.stdout.write(`unknown: ${line}\n`);
});
process.stdout.write("innocent is ready\n");
