/**
 * What users, listeners and workers get to see is byte for byte what version 0.3 made, and states take no more room but for
 * the number of their format. `test/samples/README.md` tells what is in the samples.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attemptTimeoutMs, EncodedResults, encodeInvocation } from "../../src/bus/messages/invocation.ts";
import { BriefWriter, canBeBrief } from "../../src/bus/store/brief-state.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { parseSubmission } from "../../src/job/check.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { endEvent } from "../../src/job/events.ts";
import type { Failure } from "../../src/job/failure.ts";
import { createFailedJob, createJob, reduce } from "../../src/job/machine.ts";
import { rest, toBeParked } from "../../src/job/rest.ts";

import { isEnded, type JobState } from "../../src/job/state.ts";
import type { Event, Transition } from "../../src/job/transition.ts";
import { viewOf } from "../../src/job/view.ts";
import { reasonsOf } from "./support.ts";

type Text = string | { sha256: string } | { same: true };

interface Sent {
  timeout_ms: number | null;
  body: Text;
  headers?: string;
}

interface Step {
  view: Text;
  events: string[];
  invocation: Sent | null;
  invocation_long?: Sent;
  stored_bytes: number;
  brief_bytes?: number;
  state_changed: boolean;
  committed?: boolean;
  counts: [attempt: number, token: number, version: number];
  waits: "invoke" | "enqueue" | "settle" | { sleep: number } | { park: number } | null;
}

interface History {
  name: string;
  encoding: Encoding;
  long?: true;
  brief?: true;
  submission: unknown;
  failed_submission?: { error: Failure; name: string };
  origin: { jobId: string; createdAt: number; sequence: number };
  now: number;
  first: Step;
  steps: (Step & { event: unknown; now: number })[];
}

const PARK_AFTER_MS = 10_000;
/** The format number, which 0.3 did not have. */
const FORMAT_BYTES = 1;

/** They have lone surrogates, small big integers or undefined results, which are read as other values than were stored. */
const CHANGED_BY_MESSAGEPACK = new Set([
  "chain-3-msgpack",
  "kinds",
  "kinds-msgpack",
  "kinds-msgpack-data-and-events",
  "results",
  "data-and-args-patched",
]);

/**
 * From this step on a history is another one than 0.3's: a fixed backoff is exactly its delay now, and a default cap does not
 * cut what was asked for.
 */
const CHANGED_ON_PURPOSE = new Map([
  ["retry-fixed", 8],
  ["long-backoff-parks", 2],
]);

const samples = JSON.parse(readFileSync(new URL("../samples/0.3.json", import.meta.url), "utf8")) as {
  histories: History[];
};

/** What the escapes stand for. */
function revive(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(revive);
  const fields = value as Record<string, unknown>;
  if (typeof fields.$bytes === "string") return new Uint8Array(Buffer.from(fields.$bytes, "hex"));
  if (typeof fields.$bigint === "string") return BigInt(fields.$bigint);
  if (typeof fields.$number === "string") return Number(fields.$number);
  if (fields.$undefined === true) return undefined;
  return Object.fromEntries(Object.entries(fields).map(([key, one]) => [key, revive(one)]));
}

/** The text in the form that the sample has it in. */
function like(sample: Text, bytes: Uint8Array, encoding: Encoding): Text {
  if (typeof sample === "string") return Buffer.from(bytes).toString(encoding === "json" ? "utf8" : "hex");
  return { sha256: createHash("sha256").update(bytes).digest("hex") };
}

function firstTransition({ failed_submission: failed, origin, encoding, submission, now }: History): Transition {
  const from = { ...origin, encoding };
  if (!failed) return createJob(parseSubmission(withItsStart(revive(submission), origin.createdAt)), from, now);
  // Since 0.4 all faults are told, and what an entry does may be said in other ways than by a name.
  const told = reasonsOf(revive(submission)).map(({ path }) => path);
  const before = [...failed.error.message.matchAll(/[:;] (\/\S*)/g)].map(([, path = ""]) => path);
  assert.ok(before.length > 0);
  for (const path of before) assert.ok(told.includes(path) || told.includes(path.replace(/\/name$/, "")), path);
  return createFailedJob(failed.error, failed.name, from, now);
}

/** In 0.3 the time of a job without a start began when it was stored, by another clock; now it has to say so. */
function withItsStart(submission: unknown, createdAt: number): unknown {
  const job = submission as Record<string, unknown>;
  if (job.timeout_ms === undefined || job.scheduled_at !== undefined) return submission;
  return { ...job, scheduled_at: new Date(createdAt).toISOString() };
}

/** How the job goes on, in the words of 0.3. */
function waitsOf(state: JobState, held: number, now: number): Step["waits"] {
  if (isEnded(state)) return "settle";
  const how = rest(state, held, now);
  switch (how.type) {
    case "attempt":
      return "invoke";
    case "memory":
      return { sleep: how.until };
    case "attempts":
      throw new Error("a job of 0.3 is no graph");
    case "parked": {
      if (how.functionNames.length > 0) return "enqueue";
      assert.ok(how.until !== undefined, "it is woken");
      return { park: how.until };
    }
  }
}

/** Without what has been added to the words of 0.3: why attempts may get lost. */
const asIn03 = (text: string) => text.replaceAll(/: each time it died, [^"]*(?=")/g, "");

/** What a user sees, without what views have gained since: the kind of each entry, which is always the same in jobs of 0.3. */
function viewIn03(state: JobState): string {
  const view = viewOf(state);
  const functions = view.functions.map(({ kind, ...fn }) => {
    assert.is(kind, "function");
    return fn;
  });
  return JSON.stringify({ ...view, functions });
}

function replay(history: History): void {
  const { encoding } = history;
  const results = new EncodedResults(encoding);
  const brief = new BriefWriter();
  let state: JobState | undefined;
  let held = 0;
  let lastView = "";
  for (const [index, step] of [{ now: history.now, event: undefined, ...history.first }, ...history.steps].entries()) {
    const { now } = step;
    if (index === CHANGED_ON_PURPOSE.get(history.name)) return;
    const at = `step ${index}`;
    const event = revive(step.event) as Event;
    // Who takes a job over, or has kept it in memory, has the token that its state names.
    if (state && (event.type === "resumed" || event.type === "due")) held = state.token;
    const next: Transition = state ? reduce(state, event, now) : firstTransition(history);
    const parked = toBeParked(next.state, held, now, PARK_AFTER_MS);
    assert.is(next.state !== state, step.state_changed, `${at}: state_changed`);
    assert.is(parked !== state, step.committed ?? step.state_changed, `${at}: committed`);
    const wasEnded = state !== undefined && isEnded(state);
    if (parked !== state) state = { ...parked, version: (state?.version ?? 0) + 1, writer: "w" };
    if (!state) throw new Error("there is no first state");

    const view = viewIn03(state);
    const isSame = typeof step.view === "object" && "same" in step.view;
    if (isSame) assert.is(view, lastView, `${at}: view`);
    else assert.equal(like(step.view, Buffer.from(asIn03(view)), "json"), step.view, `${at}: view`);
    lastView = view;

    // 0.3 told the end again whenever a job that had ended was taken over; that is up to the actor now.
    const ends = isEnded(state) && (!wasEnded || event.type === "resumed") ? [endEvent(state)] : [];
    assert.equal(
      [...next.events, ...ends].map((one) => asIn03(JSON.stringify(one))),
      step.events,
      `${at}: events`,
    );
    if (step.waits !== null) assert.equal(waitsOf(state, held, now), step.waits, `${at}: waits`);
    assert.equal([state.attempt, state.token, state.version], step.counts, `${at}: counts`);

    const stored = packState(state);
    // The failure is stored with its function, and with the job if that has failed of it; the job's refers to it where it can.
    const added = 2 * (view.length - asIn03(view).length);
    assert.ok(
      stored.length <= step.stored_bytes + FORMAT_BYTES + added,
      `${at}: ${stored.length} > ${step.stored_bytes} bytes`,
    );
    const read = storedJob(state.job_id, 1, stored).state;
    assert.ok(read, `${at}: it cannot be read`);
    if (!CHANGED_BY_MESSAGEPACK.has(history.name)) {
      assert.is(viewIn03(read), view, `${at}: view of what was read`);
      assert.equal(packState(read), stored, `${at}: what was read`);
    }
    if (history.brief && canBeBrief(state)) {
      const { length } = brief.write(state);
      assert.ok(length <= (step.brief_bytes ?? 0) + FORMAT_BYTES, `${at}: ${length} > ${step.brief_bytes} brief bytes`);
    } else assert.is(step.brief_bytes, undefined, `${at}: brief`);

    if (isEnded(state) || !step.invocation) continue;
    const address = { index: state.current_function, attempt: state.attempt };
    const timeoutMs = attemptTimeoutMs(state, address.index, now);
    const body = Buffer.from(encodeInvocation(state, address, now, timeoutMs) as Uint8Array);
    const expected = { timeout_ms: timeoutMs ?? null, body: like(step.invocation.body, body, encoding) };
    assert.equal(expected, step.invocation, `${at}: invocation`);
    if (!history.long) continue;
    const long = Buffer.from(encodeInvocation(state, address, now, timeoutMs, results) as Uint8Array);
    const sample = step.invocation_long as Sent;
    if (typeof sample.body === "object" && "same" in sample.body) assert.ok(long.equals(body), `${at}: long body`);
    else assert.equal(like(sample.body, long, encoding), sample.body, `${at}: long body`);
    const headers = results.headers as unknown as { encode(): Uint8Array } | undefined;
    assert.is(headers && Buffer.from(headers.encode()).toString(), sample.headers, `${at}: headers`);
  }
}

for (const history of samples.histories) test(`as 0.3: ${history.name}`, () => replay(history));

test("the samples are there", () => {
  assert.is(samples.histories.length, 40);
  const steps = samples.histories.reduce((sum, history) => sum + history.steps.length, 0);
  assert.is(steps, 711);
});

test.run();
