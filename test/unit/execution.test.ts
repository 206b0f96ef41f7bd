/** What a handler knows of its attempt, and what its worker replies for it, without a bus. */
import { setTimeout as delay } from "node:timers/promises";
import { type MsgHdrs, MsgHdrsImpl, type Payload } from "nats";
import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/messages/codec.ts";
import { type Invocation, type Request, readInvocation } from "../../src/bus/messages/invocation.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { Handler } from "../../src/worker/context.ts";
import { FatalError, RetryAfter } from "../../src/worker/errors.ts";
import { Execution } from "../../src/worker/execution.ts";
import { LogSpells } from "../../src/worker/log-spells.ts";

const test = suite("execution");
const log = pino({ level: "silent" });

interface Sent {
  status: string | undefined;
  code: string | undefined;
  body: unknown;
}

interface Begun {
  execution: Execution;
  /** What it has replied so far. */
  sent: Sent[];
  /** Resolves when the handler has ended, with what counts as thrown. */
  ended: Promise<{ error: unknown } | undefined>;
}

function begin(handler: Handler, more: Partial<Invocation> = {}): Begun {
  const sent: Sent[] = [];
  const message: Request = {
    data: new Uint8Array(),
    respond: (data?: Payload, options?: { headers?: MsgHdrs }) => {
      const bytes = typeof data === "string" ? Buffer.from(data) : (data ?? new Uint8Array());
      const lines = options?.headers && (options.headers as unknown as { encode(): Uint8Array }).encode();
      const headers = lines && MsgHdrsImpl.decode(lines);
      const header = (name: string) => headers?.get(name) || undefined;
      const body = bytes.length === 0 ? null : decode(bytes);
      sent.push({ status: header("Async-Status"), code: header("Nats-Service-Error-Code"), body });
      return true;
    },
  };
  const body = { job_id: "j", job_name: "n", function: "f", index: 2, attempt: 1, args: null, data: null, ...more };
  const invocation = readInvocation({ data: encode(body, "json") });
  const execution = new Execution(invocation, message, log, new LogSpells(log), 1_500);
  const ended = new Promise<{ error: unknown } | undefined>((resolve) => {
    execution.run(handler, () => {}, resolve);
  });
  return { execution, sent, ended };
}

const heartbeats = (sent: readonly Sent[]) => sent.filter(({ status }) => status === "heartbeat");
const finals = (sent: readonly Sent[]) => sent.filter(({ status }) => status !== "heartbeat");
const untilAborted: Handler = ({ signal }) => delay(60_000, undefined, { signal });
const GRACE_MS = 40;
const INTERRUPTED = {
  name: "Interrupted",
  message: "the worker was told to stop, and the attempt did not end within its grace period of 40 ms",
  interrupted: true,
};

// --- what the handler knows

test("the handler of an undo knows what it undoes, and whether that was done for sure", async () => {
  const seen: unknown[] = [];
  const handler: Handler = ({ isUndo, undone, undoOf, uncertain, failed, item, itemIndex, cursor }) => {
    seen.push([isUndo, undone, undoOf, uncertain, failed, item, itemIndex, cursor]);
  };
  await begin(handler, { undo: true, result: { id: 7 }, undo_of: "j/2", uncertain: true }).ended;
  await begin(handler, { item: { sku: "a" }, item_index: 4 }).ended;
  await begin(handler, { cursor: null }).ended;
  await begin(handler, { failed: ["ship", 3] }).ended;
  const nothing = [false, undefined, undefined, false, []];
  assert.equal(seen, [
    [true, { id: 7 }, "j/2", true, [], undefined, undefined, undefined],
    [...nothing, { sku: "a" }, 4, undefined],
    [...nothing, undefined, undefined, null],
    [false, undefined, undefined, false, ["ship", 3], undefined, undefined, undefined],
  ]);
});

test("a handler gets a result by the id of its entry, and null for one that returned nothing", async () => {
  const more = { result_ids: ["plan", null, "charge", "lost"], results: [{ n: 1 }, "x", null] };
  const { sent, ended } = begin(({ result }) => [result("plan"), result("charge"), result("lost")], more);
  await ended;
  assert.equal(sent, [{ status: undefined, code: undefined, body: [{ n: 1 }, null, null] }]);
});

test("an id that no result has is an error that names those there are, and what to do", () => {
  const asked = (more: Partial<Invocation>) => {
    try {
      begin(() => {}, more).execution.result("chrage");
    } catch (error) {
      return isAsyncError(error, "no_entry") ? error.message : `not ours: ${error}`;
    }
    return "nothing was thrown";
  };
  assert.is(
    asked({ result_ids: ["plan", null, "charge"], results: [1, 2, 3] }),
    'no result that was handed over has the id "chrage" (those that have are "plan", "charge"): add it to `needs` of the entry that asks',
  );
  assert.match(asked({ results: [1, 2] }), "(none has)");
  const ids = Array.from({ length: 25 }, (_, index) => `e${index}`);
  assert.match(asked({ result_ids: ids, results: ids }), /"e19", and 5 more\)/);
});

test("results are not read before one is asked for that is there", () => {
  let reads = 0;
  const { body } = readInvocation({ data: encode({ job_id: "j", attempt: 1, result_ids: ["a"] }, "json") });
  const results = () => {
    reads += 1;
    return ["one"];
  };
  const message: Request = { data: new Uint8Array(), respond: () => true };
  const execution = new Execution({ body, encoding: "json", results }, message, log, new LogSpells(log), 1_500);
  const { result } = execution;
  assert.throws(() => result("b"));
  assert.is(reads, 0);
  assert.is(result("a"), "one");
  assert.is(result("a"), "one");
  assert.is(reads, 1);
});

test("a handler that runs in place of a failed one gets its failure, and one that goes on gets the last progress", () => {
  const error = { code: "function_failed", name: "CardDeclined", message: "no money" } as const;
  const { execution } = begin(() => {}, { error, last_progress: { row: 41 } });
  assert.equal(execution.error, error);
  assert.equal(execution.lastProgress, { row: 41 });
  const plain = begin(() => {}).execution;
  assert.is(plain.error, undefined);
  assert.is(plain.lastProgress, undefined);
});

test("the idempotency key is that of the invocation, where it has one", () => {
  assert.is(begin(() => {}, { idempotency_key: "j/2/r1" }).execution.idempotencyKey, "j/2/r1");
  assert.is(begin(() => {}).execution.idempotencyKey, "j/2");
});

// --- interrupted

test("[EXECUTION-3] a handler that throws the reason of its signal, in any wrapping, is interrupted and has not failed", async () => {
  const wrapped: Handler = async ({ signal }) => {
    await delay(60_000, undefined, { signal }).catch((cause) => {
      throw new Error("rows 7 to 9 are missing", { cause });
    });
  };
  const bare: Handler = ({ signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const nameOnly: Handler = ({ signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("", "AbortError"))));
  for (const handler of [untilAborted, wrapped, bare, nameOnly]) {
    const { execution, sent, ended } = begin(handler);
    execution.interrupt(GRACE_MS);
    assert.equal(sent, []); // it has a moment
    assert.is(Object((await ended)?.error).name, "Interrupted");
    assert.equal(sent, [{ status: undefined, code: "500", body: INTERRUPTED }]);
    execution.endInterrupted();
    assert.is(sent.length, 1);
  }
});

test("[EXECUTION-3] the result, or the error of its own, of a handler that ends when its signal fires counts", async () => {
  const onAbort =
    (end: (reason: unknown) => unknown): Handler =>
    ({ signal }) =>
      new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason))).then(end);
  const ending = async (end: (reason: unknown) => unknown) => {
    const { execution, sent, ended } = begin(onAbort(end));
    execution.interrupt(GRACE_MS);
    await ended;
    execution.endInterrupted();
    assert.is(sent.length, 1);
    const { code, body } = sent[0] as Sent;
    const { stack: _, ...rest } = Object(body) as { stack?: string };
    return { code, ...rest };
  };
  const rethrow = (make: (cause: unknown) => Error) => (cause: unknown) => {
    throw make(cause);
  };
  assert.equal(await ending((reason) => ({ saved: (reason as Error).name })), {
    code: undefined,
    saved: "Interrupted",
  });
  const own = await ending(rethrow(() => new Error("disk full")));
  assert.equal(own, { code: "500", name: "Error", message: "disk full" });
  // These say themselves what is to follow.
  const fatal = (await ending(rethrow((cause) => new FatalError("half done", { cause })))) as Record<string, unknown>;
  assert.equal([fatal.name, fatal.retryable, fatal.interrupted], ["FatalError", false, undefined]);
  const after = (await ending(rethrow((cause) => new RetryAfter(70, "later", { cause })))) as Record<string, unknown>;
  assert.equal([after.name, after.retry_after_ms, after.interrupted], ["RetryAfter", 70, undefined]);
});

test("[EXECUTION-3] of a handler that does not stop it is said that it was interrupted, and nothing after that", async () => {
  let release = () => {};
  const { execution, sent, ended } = begin(({ heartbeat }) =>
    new Promise<void>((resolve) => {
      release = resolve;
    }).then(() => heartbeat("too late")),
  );
  execution.interrupt(GRACE_MS);
  assert.is(execution.givenUpAt, undefined);
  execution.endInterrupted();
  assert.type(execution.givenUpAt, "number");
  release();
  await ended;
  execution.sendHeartbeat();
  assert.equal(sent, [{ status: undefined, code: "500", body: INTERRUPTED }]);
});

test("[EXECUTION-3] the newest progress is sent before, also one that was told when the signal fired", async () => {
  const stubborn: Handler = ({ heartbeat, signal }) => {
    for (let row = 1; row <= 3; row++) heartbeat({ row });
    signal.addEventListener("abort", () => heartbeat({ row: 4 }));
    return new Promise(() => {});
  };
  const obedient: Handler = async (context) => {
    stubborn(context);
    await untilAborted(context);
  };
  for (const handler of [stubborn, obedient]) {
    const { execution, sent, ended } = begin(handler);
    execution.interrupt(GRACE_MS);
    if (handler === obedient) await ended;
    else execution.endInterrupted();
    assert.equal(
      heartbeats(sent).map(({ body }) => body),
      [{ row: 1 }, { row: 4 }],
    );
    assert.equal(sent.at(-1)?.body, INTERRUPTED);
    await delay(150); // what was thinned out would have come by now
    assert.is(sent.length, 3);
  }
});

test("[EXECUTION-4] one that is asked to stop goes on, with heartbeats, until it has said what it has done", async () => {
  let stop = () => {};
  const { execution, sent, ended } = begin(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    await new Promise<void>((resolve) => {
      stop = resolve;
    });
    return { charged: true };
  });
  execution.askToStop();
  execution.askToStop();
  await delay(1);
  execution.sendHeartbeat();
  assert.is(heartbeats(sent).length, 1);
  assert.is(execution.givenUpAt, undefined);
  stop();
  await ended;
  assert.equal(finals(sent), [{ status: undefined, code: undefined, body: { charged: true } }]);
});

test("[EXECUTION-4] one that throws the reason may have been done; when it is given up in the end, nothing more is said", async () => {
  const stopped = begin(untilAborted);
  stopped.execution.askToStop();
  await stopped.ended;
  const [reply] = finals(stopped.sent);
  assert.is((reply?.body as { interrupted?: boolean } | undefined)?.interrupted, true);

  const deaf = begin(() => delay(20));
  deaf.execution.askToStop();
  deaf.execution.stop();
  await deaf.ended;
  assert.equal(deaf.sent, []);
});

test("[EXECUTION-2] an attempt that was given up before, or while it is interrupted, is not answered", async () => {
  const before = begin(untilAborted);
  before.execution.stop();
  before.execution.interrupt(GRACE_MS);
  before.execution.endInterrupted();
  await before.ended;
  const during = begin(() => new Promise(() => {}));
  during.execution.interrupt(GRACE_MS);
  during.execution.stop();
  during.execution.endInterrupted();
  assert.equal([...before.sent, ...during.sent], []);
});

test("an AbortError of a handler that nobody interrupts is a failure like any other", async () => {
  const { sent, ended } = begin(({ heartbeat }) => {
    heartbeat(1);
    throw new DOMException("the upstream went away", "AbortError");
  });
  await ended;
  const { body } = finals(sent)[0] as { body: Record<string, unknown> };
  assert.equal([body.name, body.interrupted], ["AbortError", undefined]);
});

test.run();
