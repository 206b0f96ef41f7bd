/** Signals without a bus: their inboxes (INBOX-1 to -4), their payloads (PAYLOAD-1), and what a job says of them. */
import { Packr } from "msgpackr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../src/bus/messages/codec.ts";
import { encodeSignal, openSignal, storedPayload } from "../../src/bus/messages/signal-payload.ts";
import { isPart, ownerOfDefinition } from "../../src/bus/store/definition.ts";
import {
  type Inbox,
  inboxKey,
  inboxOf,
  isInboxOf,
  MAX_KEPT,
  MAX_KEYS,
  nextSignal,
  numberOfKey,
  packInbox,
  readInbox,
  withSignal,
} from "../../src/bus/store/inbox.ts";
import { readSignalReply } from "../../src/client/signal.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { AsyncError, isAsyncError } from "../../src/job/errors.ts";
import { signalKeyProblem, signalNameProblem } from "../../src/job/names.ts";
import { signalNames, usedNumber, waitsForSignal } from "../../src/job/signals.ts";
import type { JobState } from "../../src/job/state.ts";
import { nearest } from "../../src/util/nearest.ts";
import { NOW, newJob } from "./support.ts";

const test = suite("signals");
const JOB = { created_at: NOW };
const LIMIT = 1_000;

/** An inbox to which `count` signals have been sent, with keys k1, k2, …; the job has used those up to `used`. */
function inboxWith(count: number, used = 0): Inbox {
  let inbox: Inbox | undefined;
  for (let i = 1; i <= count; i++) {
    const next = withSignal(inbox, JOB, used, { at: NOW + i, key: `k${i}`, payload: Buffer.from(String(i)) });
    assert.is.not(next, "full");
    inbox = next as Inbox;
  }
  return inbox as Inbox;
}

const add = (inbox: Inbox | undefined, used: number, key = "x") =>
  withSignal(inbox, JOB, used, { at: NOW, key, payload: Buffer.from("null") });

const codeOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof AsyncError, String(error));
    return error.code;
  }
  return "nothing";
};

// --- inboxes

test("INBOX-1: signals are numbered from 1 on, and are taken in that order", () => {
  const inbox = inboxWith(3);
  assert.equal(
    inbox.kept.map(({ n }) => n),
    [1, 2, 3],
  );
  assert.is(nextSignal(inbox, 0)?.n, 1);
  assert.is(nextSignal(inbox, 2)?.n, 3);
  assert.is(nextSignal(inbox, 3), undefined);
});

test("INBOX-1: a new inbox of a job that has used some goes on with the next number, as the job would pass over lower ones", () => {
  const inbox = add(undefined, 5) as Inbox;
  assert.is(inbox.last, 6);
  assert.is(nextSignal(inbox, 5)?.n, 6);
});

test("INBOX-2: the one after the most that are kept is refused, until the job has used one", () => {
  const inbox = inboxWith(MAX_KEPT);
  assert.is(add(inbox, 0), "full");
  const next = add(inbox, 1) as Inbox;
  assert.is(next.kept.length, MAX_KEPT);
  assert.is(next.kept[0]?.n, 2);
  assert.is(next.last, MAX_KEPT + 1);
});

test("INBOX-3: a key is known while its signal is kept, and until as many as are remembered have been dropped after it", () => {
  let inbox = inboxWith(2);
  assert.is(numberOfKey(inbox, "k1"), 1);
  assert.is(numberOfKey(inbox, "k3"), undefined);
  for (let n = 3; n <= MAX_KEYS + 1; n++) inbox = add(inbox, n - 1, `k${n}`) as Inbox;
  assert.is(inbox.kept.length, 1);
  assert.is(numberOfKey(inbox, "k1"), 1, "it is the oldest that is remembered");
  inbox = add(inbox, MAX_KEYS + 1, "later") as Inbox;
  assert.is(numberOfKey(inbox, "k1"), undefined);
  assert.is(numberOfKey(inbox, "k2"), 2);
  assert.is(inbox.keys.length, MAX_KEYS);
});

test("INBOX-4: an inbox of an earlier job is none of this one; of a time that is a ms apart it is", () => {
  const inbox = inboxWith(1);
  assert.ok(isInboxOf(inbox, { created_at: NOW }));
  assert.ok(isInboxOf(inbox, { created_at: NOW + 1 }));
  assert.ok(isInboxOf(inbox, { created_at: NOW - 1 }));
  assert.not(isInboxOf(inbox, { created_at: NOW + 1_000 }));
});

test("an inbox is read as it was packed", () => {
  const inbox = add(inboxWith(4, 2), 3) as Inbox;
  assert.equal(readInbox(packInbox(inbox)), inbox);
  const withoutKey = withSignal(undefined, JOB, 0, { at: NOW, payload: Buffer.from("1") }) as Inbox;
  assert.equal(readInbox(packInbox(withoutKey)), withoutKey);
});

test("what is no inbox is not read as one, whatever it is", () => {
  const inbox = inboxWith(1);
  const [signal] = inbox.kept;
  const others: unknown[] = [
    null,
    7,
    [],
    {},
    { ...inbox, created_at: "x" },
    { ...inbox, last: -1 },
    { ...inbox, last: 1.5 },
    { ...inbox, kept: {} },
    { ...inbox, kept: [null] },
    { ...inbox, kept: [{ ...signal, n: "1" }] },
    { ...inbox, kept: [{ ...signal, at: -5 }] },
    { ...inbox, kept: [{ ...signal, key: 5 }] },
    { ...inbox, kept: [{ ...signal, payload: "text" }] },
    { ...inbox, keys: [{ key: 1, n: 1 }] },
    { ...inbox, keys: null },
  ];
  for (const value of others) assert.is(readInbox(encode(value, "msgpack")), undefined, JSON.stringify(value));
  for (const bytes of [Buffer.of(), Buffer.of(0xc1), Buffer.from("nonsense"), packInbox(inbox).subarray(0, 20)]) {
    assert.is(readInbox(bytes), undefined);
  }
});

test("the key of an inbox is told from that of a state and of a definition, also where the signal is named definition", () => {
  const key = inboxKey("job-1", "definition");
  assert.ok(isPart(key));
  assert.equal(inboxOf(key), { jobId: "job-1", name: "definition" });
  assert.is(ownerOfDefinition(key), undefined);
  assert.is(ownerOfDefinition("job-1.definition"), "job-1");
  for (const other of ["job-1", "job-1.definition", "job-1.signal", "job-1.signal.", ".signal.x", "a.signal.b.c"]) {
    assert.is(inboxOf(other), undefined, other);
  }
});

// --- payloads

const msgpack = (value: unknown) => new Packr({ useRecords: false }).pack(value) as Uint8Array;
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

/** What the job gets of a body. */
function received(body: Uint8Array, encoding: Encoding, limit = LIMIT): unknown {
  const opened = openSignal({ payload: storedPayload(body, encoding, limit) }, encoding);
  assert.is(opened.problem, undefined);
  return "value" in opened ? opened.value : undefined;
}

test("what is sent in either encoding arrives in a job of either", () => {
  const values = [
    null,
    true,
    0,
    7,
    55,
    -1,
    1.5,
    "",
    "text",
    "ä€😀",
    [],
    [1, [2]],
    {},
    { a: { b: [null] } },
    { __proto__x: 1 },
  ];
  for (const value of values) {
    for (const encoding of ["json", "msgpack"] as const) {
      assert.equal(received(json(value), encoding), value);
      assert.equal(received(Buffer.from(encodeSignal(value, "msgpack") as Uint8Array), encoding), value);
      assert.equal(received(Buffer.from(encodeSignal(value) as string), encoding), value);
    }
  }
});

test("an empty body is null", () => {
  for (const encoding of ["json", "msgpack"] as const) assert.is(received(Buffer.of(), encoding), null);
  assert.is(encodeSignal(undefined), "");
});

test("a single byte is the digit that it shows, or else a small integer of MessagePack", () => {
  assert.is(received(Buffer.from("7"), "json"), 7);
  for (const integer of [0, 1, 9, 10, 13, 31, 127]) assert.is(received(Buffer.of(integer), "json"), integer);
  assert.is(received(Buffer.from(encodeSignal(0x37, "msgpack") as Uint8Array), "json"), 0x37);
});

test("PAYLOAD-1: a JSON job gets bytes as base64, and integers that JSON would round as text; a MessagePack job as they are", () => {
  const large = 9_007_199_254_740_993n;
  const value = { id: large, low: -(2n ** 63n), small: 5n, bytes: Buffer.from("hello") };
  const body = Buffer.from(encodeSignal(value) as Uint8Array);
  assert.equal(received(body, "json"), {
    id: "9007199254740993",
    low: "-9223372036854775808",
    small: 5,
    bytes: "aGVsbG8=",
  });
  const opened = received(body, "msgpack") as typeof value;
  assert.is(opened.id, large);
  assert.equal(Buffer.from(opened.bytes), value.bytes);
});

test("PAYLOAD-1: what JSON has not is refused for a JSON job, with its place", () => {
  for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const body = msgpack({ a: [1, odd] });
    let message = "";
    try {
      storedPayload(body, "json", LIMIT);
    } catch (error) {
      assert.ok(isAsyncError(error, "invalid_request"));
      message = error.message;
    }
    assert.match(message, "/a/1");
    assert.equal(received(body, "msgpack"), { a: [1, odd] });
  }
});

test("a payload that cannot be read, is too deep, or would be rounded is refused", () => {
  const deep = (levels: number) => Buffer.from("[".repeat(levels) + "]".repeat(levels));
  const deepPacked = (levels: number) => Buffer.concat([Buffer.alloc(levels, 0x91), Buffer.of(0xc0)]);
  const bodies = [
    Buffer.from("{"),
    Buffer.from("yes"),
    Buffer.from("9007199254740993"),
    Buffer.from("1e999"),
    Buffer.from('"\\ud800"'),
    Buffer.of(0xc1),
    Buffer.of(0x92, 1),
    Buffer.of(0xd4, 1, 1),
    Buffer.of(0x22, 0xff, 0x22),
    deep(201),
    deepPacked(201),
  ];
  for (const encoding of ["json", "msgpack"] as const) {
    for (const body of bodies) {
      assert.is(
        codeOf(() => storedPayload(body, encoding, LIMIT)),
        "invalid_request",
        body.subarray(0, 20).toString(),
      );
    }
    assert.ok(received(deep(200), encoding));
    assert.ok(received(deepPacked(200), encoding));
  }
});

test("the limit is for what is stored, and for what it takes in the state", () => {
  const text = json("x".repeat(LIMIT));
  assert.is(
    codeOf(() => storedPayload(text, "json", LIMIT)),
    "payload_too_large",
  );
  assert.ok(storedPayload(json("x".repeat(LIMIT - 3)), "json", LIMIT));
  // 1.5 takes four bytes in JSON and nine in the state.
  const fractions = json(Array.from({ length: 200 }, () => 1.5));
  assert.ok(fractions.length < LIMIT);
  assert.is(
    codeOf(() => storedPayload(fractions, "json", LIMIT)),
    "payload_too_large",
  );
  // A byte of MessagePack becomes more than one in JSON.
  const bytes = msgpack(Buffer.alloc(900));
  assert.ok(storedPayload(bytes, "msgpack", LIMIT));
  assert.is(
    codeOf(() => storedPayload(bytes, "json", LIMIT)),
    "payload_too_large",
  );
});

test("a stored payload that somebody else has written is told to be none", () => {
  for (const encoding of ["json", "msgpack"] as const) {
    const opened = openSignal({ payload: Buffer.of(0xc1, 0xff) }, encoding);
    assert.type(opened.problem, "string");
    assert.not("value" in opened);
  }
});

test("what cannot be sent at all is refused where it is given, with its place", () => {
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  for (const value of [{ a: new Map([[1, 2]]) }, circular, { a: 2n ** 64n }]) {
    assert.is(
      codeOf(() => encodeSignal(value)),
      "invalid_request",
    );
  }
  assert.is(
    codeOf(() => encodeSignal({ a: 1n }, "json")),
    "invalid_request",
  );
});

// --- jobs

const waiting = (name: string): JobState => ({
  ...newJob({
    name: "waits",
    functions: [{ name: "first" }, { wait_for: name }, { wait_for: "other" }, { wait_for: name }],
  }),
  live: [{ index: 1, attempt: 1, wait: "signal", since: NOW }],
});

test("a job knows which signals its entries wait for, and for which it waits now", () => {
  const job = waiting("approval");
  assert.equal(signalNames(job), ["approval", "other"]);
  assert.ok(waitsForSignal(job, "approval"));
  assert.not(waitsForSignal(job, "other"));
  assert.not(waitsForSignal({ ...job, live: [{ index: 1, attempt: 1, wait: "none", since: NOW }] }, "approval"));
  assert.equal(signalNames(newJob({ name: "chain", functions: [{ name: "first" }] })), []);
});

test("a signal may have the name of what every object has", () => {
  for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
    assert.is(signalNameProblem(name), undefined);
    assert.is(usedNumber({ signals: {} }, name), 0, name);
    assert.is(usedNumber({ signals: Object.fromEntries([[name, 3]]) }, name), 3, name);
  }
  assert.is(usedNumber({}, "approval"), 0);
});

test("the name of a signal is one word, its key fits into a header", () => {
  for (const name of ["a", "a-b_C9", "x".repeat(64)]) assert.is(signalNameProblem(name), undefined);
  for (const name of ["", "a.b", "*", ">", "a b", "ä", "x".repeat(65)]) assert.type(signalNameProblem(name), "string");
  for (const key of ["a", "a b", "{}~!", "x".repeat(200)]) assert.is(signalKeyProblem(key), undefined);
  for (const key of ["", " a", "a ", "a\r\nb", "ä", "x".repeat(201)]) assert.type(signalKeyProblem(key), "string");
});

test("a mistyped word is told from one that is another", () => {
  const words = ["approval", "payment", "x"];
  assert.is(nearest("aproval", words), "approval");
  assert.is(nearest("Approvel", words), "approval");
  assert.is(nearest("pay", words), undefined);
  assert.is(nearest("y", words), "x");
  assert.is(nearest("anything", []), undefined);
  assert.is(nearest("x".repeat(5_000), words), undefined);
});

test("a repetition is told to who has chosen the key, and not of what the client has tried again itself", () => {
  const answer = { job_id: "j", name: "approval", number: 1, repeated: true };
  assert.equal(readSignalReply(answer, { key: "k" }), answer);
  assert.equal(readSignalReply(answer, {}), { job_id: "j", name: "approval", number: 1 });
  for (const other of [{}, { ...answer, number: "1" }, { ...answer, job_id: 1 }]) {
    assert.is(
      codeOf(() => readSignalReply(other, {})),
      "bus_timeout",
    );
  }
});

test.run();
