/** What is wrong with graphs: all of it at once, each fault at its place and in plain words. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode } from "../../src/bus/messages/codec.ts";
import { packDefinition, readDefinition } from "../../src/bus/store/definition.ts";
import { checkJob, parseSubmission } from "../../src/job/check.ts";
import { newJob } from "../../src/job/create.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { MAX_JOB_EXPRESSIONS } from "../../src/job/graph-check.ts";
import { MAX_DURATION_MS } from "../../src/job/schema.ts";
import { viewOf } from "../../src/job/view.ts";
import { NOW, ORIGIN, reasonsOf } from "./support.ts";

const job = (...functions: unknown[]) => ({ name: "test", functions });
const told = (input: unknown) => reasonsOf(input).map(({ path, message }) => `${path} ${message}`);
const first = (input: unknown) => told(input)[0] ?? "";
const paths = (input: unknown) => reasonsOf(input).map(({ path }) => path);
const isRight = (input: unknown) => assert.equal(checkJob(input, { now: NOW }), []);

const ORDER = {
  name: "order",
  tags: { customer: "c1" },
  keep_ms: 1_000,
  warn_after_ms: 1_000,
  functions: [
    { id: "reserve", name: "reserve-stock" },
    {
      id: "approve",
      wait_for: "approval",
      timeout_ms: 86_400_000,
      when: "data.total > 1000",
      expect: "result.approved",
    },
    { id: "charge", name: "charge", args: { amount: { $: "data.total" } }, needs: ["reserve"] },
    { sleep_ms: 3_600_000 },
    { sleep_until: { $: "results.approve.at" }, needs: ["approve"] },
    { sleep_until: "2026-11-23T21:00:00Z", needs: [] },
    { name: "thank", on_error: { name: "alert", args: { why: { $: "error.message" } }, timeout_ms: 5 } },
  ],
};

test("a graph that is right comes back itself", () => {
  assert.is(parseSubmission(ORDER), ORDER);
  isRight(ORDER);
});

test("an entry has exactly one of the fields that say what it does", () => {
  assert.equal(told(job({ name: "a" }, { when: "true" }, {})), [
    "/functions/1 must have one of name, wait_for, sleep_ms, sleep_until and job",
    "/functions/2 must have one of name, wait_for, sleep_ms, sleep_until and job",
  ]);
  assert.equal(told(job({ name: "a", sleep_ms: 5 })), [
    "/functions/0 has both name and sleep_ms: an entry does one thing, so make an entry of each",
  ]);
  assert.match(first(job({ name: "a", sleep_ms: 5, wait_for: "x" })), "has name, wait_for, sleep_ms: an entry does");
});

test("ids are words that expressions can say, and there once", () => {
  for (const id of ["a", "_", "A9_", "x".repeat(64), "trueish"]) isRight(job({ id, name: "a" }));
  for (const id of ["", "9a", "a-b", "a.b", "ä", "x".repeat(65), "a\n"]) {
    assert.equal(told(job({ id, name: "a" })), [
      "/functions/0/id must begin with a letter or '_', and have at most 64 letters, digits and '_'",
    ]);
  }
  for (const id of ["true", "in", "null", "while"]) {
    assert.match(first(job({ id, name: "a" })), "/functions/0/id is a word of the language of expressions");
  }
  assert.equal(told(job({ id: "a", name: "a" }, { name: "b" }, { id: "a", name: "c" })), [
    "/functions/2/id is the id of /functions/0 already",
  ]);
});

test("needs name entries that there are, each once, and not the entry itself", () => {
  const entries = (...needs: unknown[]) => job({ id: "charge", name: "a" }, { id: "b", name: "b", needs });
  isRight(entries("charge"));
  isRight(entries());
  assert.equal(told(entries("chrage")), [
    "/functions/1/needs/0 names chrage, and no entry has that id; did you mean charge?",
  ]);
  assert.equal(told(entries("something")), ["/functions/1/needs/0 names something, and no entry has that id"]);
  assert.equal(told(entries("charge", "b")), ["/functions/1/needs/1 names the entry itself"]);
  assert.equal(told(entries("charge", "charge")), ["/functions/1/needs/1 names charge a second time"]);
  assert.match(first(entries("a b")), "/functions/1/needs/0 must begin with a letter");
  assert.equal(told(entries(5)), ["/functions/1/needs/0 must be string"]);
  assert.equal(told(job({ name: "a", needs: "a" })), ["/functions/0/needs must be array"]);
});

test("a circle is told once, by the entries that wait for each other", () => {
  const one = job(
    { id: "a", name: "a", needs: ["c"] },
    { id: "b", name: "b", needs: ["a"] },
    { id: "c", name: "c", needs: ["b"] },
  );
  assert.equal(told(one), [
    "/functions/0/needs makes a circle: a → c → b → a (each waits for the next, so none could begin)",
  ]);
  // Without needs, an entry waits for all before it.
  const listed = job(
    { id: "a", name: "a" },
    { id: "b", name: "b", needs: ["d"] },
    { name: "c" },
    { id: "d", name: "d" },
  );
  assert.equal(told(listed), [
    "/functions/1/needs makes a circle: b → d → b (each waits for the next, so none could begin)",
  ]);
  const unnamed = job({ name: "a", needs: ["b"] }, { id: "b", name: "b" });
  assert.match(first(unnamed), "/functions/0/needs makes a circle: /functions/0 → b → /functions/0 (");
  const two = job(
    { id: "a", name: "a", needs: ["b"] },
    { id: "b", name: "b", needs: ["a"] },
    { id: "x", name: "x", needs: ["y"] },
    { id: "y", name: "y", needs: ["x"] },
  );
  assert.equal(paths(two), ["/functions/0/needs", "/functions/2/needs"]);
});

test("a long circle is told in short", () => {
  const ring = Array.from({ length: 1_000 }, (_, n) => ({ id: `e${n}`, name: "a", needs: [`e${(n + 1) % 1_000}`] }));
  assert.match(first(job(...ring)), "e0 → e1 → e2 → e3 → e4 → e5 → e6 → e7 → … (1000 in all) → e0 (");
});

test("names of signals are single words", () => {
  isRight(job({ wait_for: "approval_of-7" }));
  for (const wait_for of ["a.b", "a b", "*", "ä", "x".repeat(65), ""]) {
    assert.equal(paths(job({ wait_for })), ["/functions/0/wait_for"], wait_for);
  }
  assert.equal(told(job({ wait_for: "a.b" })), ["/functions/0/wait_for must consist of letters, digits, '-' and '_'"]);
});

test("the time until which is slept exists, has a zone, and is at most ten years ahead", () => {
  const at = (sleep_until: unknown, now = NOW) => checkJob(job({ sleep_until }), { now }).map((one) => one.message);
  assert.equal(at("2026-11-23T21:00:00Z"), []);
  assert.equal(at("1999-01-01T00:00:00Z"), [], "it has passed: it does not sleep");
  assert.equal(at(new Date(NOW + MAX_DURATION_MS).toISOString()), []);
  assert.equal(at(new Date(NOW + MAX_DURATION_MS + 1).toISOString()), ["must be at most ten years ahead"]);
  for (const bad of ["tomorrow", "2026-02-30T00:00:00Z", "2026-11-23T21:00:00", ""]) {
    assert.equal(at(bad), ["must be an ISO 8601 date and time with a time zone, e.g. 2026-11-23T21:00:00Z"], bad);
  }
  assert.not.throws(() => parseSubmission(job({ sleep_until: "2300-01-01T00:00:00Z" })), "what is stored is read");
});

test("options that say nothing for what the entry does are refused, with the reason", () => {
  assert.equal(told(job({ sleep_ms: 5, args: [1], timeout_ms: 5, retry_options: {} })).toSorted(), [
    "/functions/0/args is for functions: a sleep calls none",
    "/functions/0/retry_options is for functions: a sleep is not tried again",
    "/functions/0/timeout_ms is for functions and signals: a sleep ends by itself",
  ]);
  assert.equal(paths(job({ sleep_until: "2026-11-23T21:00:00Z", timeout_ms: 5 })), ["/functions/0/timeout_ms"]);
  assert.equal(told(job({ wait_for: "x", args: [1], retry_options: {}, timeout_ms: 5 })).toSorted(), [
    "/functions/0/args is for functions: who waits for a signal calls none",
    "/functions/0/retry_options is for functions: a signal is not tried again; timeout_ms says how long it is waited for",
  ]);
  isRight(job({ sleep_ms: 5, args: null, timeout_ms: null }));
});

test("a fault in one of several shapes is told of the one that was meant", () => {
  const onError = (on_error: unknown) => told(job({ name: "a", on_error }));
  const one = '/functions/0/on_error must be "fail" or "continue" or an object with the name of a function';
  assert.equal(onError("retry"), [one]);
  assert.equal(onError(5), [one]);
  assert.equal(onError([]), [one]);
  assert.equal(onError({}), ["/functions/0/on_error/name is required"]);
  assert.equal(onError({ name: "a b" }), [
    "/functions/0/on_error/name must consist of printable ASCII characters without spaces",
  ]);
  assert.equal(onError({ name: "a", arg: 1, timeout_ms: 0 }), [
    "/functions/0/on_error/arg is not a known field; did you mean args?",
    "/functions/0/on_error/timeout_ms must be integer of at least 1",
  ]);
  const until = (sleep_until: unknown) => told(job({ sleep_until }));
  assert.equal(until(5), ['/functions/0/sleep_until must be a date and time or an expression {"$": "…"}']);
  assert.equal(until({}), ["/functions/0/sleep_until/$ is required"]);
  assert.equal(until({ $: 5 }), ["/functions/0/sleep_until/$ must be string"]);
  assert.equal(until({ $: "data.at", x: 1 }), ["/functions/0/sleep_until/x is not a known field"]);
  assert.match(until("soon")[0] ?? "", "/functions/0/sleep_until must be an ISO 8601 date");
  assert.equal(told(job({ name: "a", retry_options: { backoff: { type: "linear" } } })), [
    '/functions/0/retry_options/backoff/type must be "exponential" or "fixed"',
  ]);
});

test("a misspelt field says which one may have been meant", () => {
  assert.equal(told(job({ nmae: "a" })), [
    "/functions/0 must have one of name, wait_for, sleep_ms, sleep_until and job",
    "/functions/0/nmae is not a known field; did you mean name?",
  ]);
  assert.equal(told({ ...job({ name: "a" }), time_out_ms: 5 }), [
    "/time_out_ms is not a known field; did you mean timeout_ms?",
  ]);
  assert.equal(
    told({ ...job({ name: "a" }), ["timeout_ms".repeat(10_000)]: 5 })[0]?.length,
    256 + " is not a known field".length,
  );
});

test("tags have short names and short texts, and are few", () => {
  const tagged = (tags: unknown) => ({ ...job({ name: "a" }), tags });
  isRight(tagged({ "customer.id-1_x": "c1", b: "x".repeat(128) }));
  isRight(tagged({}));
  assert.equal(told(tagged({ a: "" })), ["/tags/a must have a length of at least 1"]);
  assert.equal(paths(tagged({ a: "x".repeat(129), b: 5 })), ["/tags/a", "/tags/b"]);
  assert.match(first(tagged({ "a b": "x" })), "is no name for a tag");
  assert.equal(told(tagged(Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`t${n}`, "x"])))), [
    "/tags must have at most 8 fields",
  ]);
});

test("expressions name what has certainly ended by then", () => {
  const when = (text: string) => ({ id: "e", name: "e", when: text });
  isRight(job({ id: "a", name: "a" }, when("results.a.ok && !skipped.a && data.x > 1 && job.name == 'x'")));
  const later = job({ id: "a", name: "a", needs: [] }, { ...when("results.a == 1"), needs: [] });
  assert.equal(paths(later), ["/functions/1/when"]);
  assert.match(first(later), "may not have ended by then");
  // By way of others, also of those that stand later in the list.
  const z = { id: "z", name: "z", needs: [] };
  isRight(job(z, { id: "y", name: "y", needs: ["z"] }, { ...when("results.z == 1"), needs: ["y"] }));
  isRight(job({ id: "y", name: "y", needs: ["z"] }, when("results.z == 1"), z));
  assert.equal(paths(job(when("results.e == 1"))), ["/functions/0/when"], "itself");
  assert.match(first(job({ id: "charge", name: "a" }, when("results.chrage == 1"))), "charge");
});

test("each place of an expression has its own names", () => {
  const cases: [object, string | undefined][] = [
    [{ expect: "result.ok" }, undefined],
    [{ when: "result.ok" }, "/functions/0/when"],
    [{ args: { a: [{ $: "result" }] } }, "/functions/0/args/a/0"],
    [{ args: { a: [{ $: "data.x" }] } }, undefined],
    [{ on_error: { name: "b", args: [{ $: "error.message" }] } }, undefined],
    [{ on_error: { name: "b", args: [{ $: "result" }] } }, "/functions/0/on_error/args/0"],
    [{ expect: "error.message == ''" }, "/functions/0/expect"],
    [{ args: { "a/b": { $: "nope" } } }, "/functions/0/args/a~1b"],
  ];
  for (const [options, path] of cases) {
    const input = job({ name: "a", ...options });
    if (path === undefined) isRight(input);
    else assert.equal(paths(input), [path]);
  }
  assert.equal(paths(job({ sleep_until: { $: "result" } })), ["/functions/0/sleep_until"]);
});

test("a condition gives true or false", () => {
  assert.equal(paths(job({ name: "a", when: "1 + 1", expect: "'yes'" })), ["/functions/0/when", "/functions/0/expect"]);
});

test("a text in data or args is no expression, whatever it looks like", () => {
  isRight({ ...job({ name: "a", args: ["nope(", { $: "data.x", more: 1 }, { $: 5 }] }), data: { $: "nope(" } });
});

test("shape, order and expressions are told in one answer", () => {
  const input = {
    ...job(
      { id: "a", name: "a b", when: "nope(" },
      { name: 5, needs: ["x"] },
      "no entry",
      { id: "a", sleep_ms: -1, expect: "results.b == 1" },
      { id: "b", name: "b", timeout_ms: "5", on_error: { args: { $: "1 +" } } },
    ),
    scheduled_at: "2026-02-30T00:00:00Z",
    more: 1,
  };
  assert.equal(paths(input).toSorted(), [
    "/functions/0/name",
    "/functions/0/when",
    "/functions/1/name",
    "/functions/1/needs/0",
    "/functions/2",
    "/functions/3/expect",
    "/functions/3/id",
    "/functions/3/sleep_ms",
    "/functions/4/on_error/args",
    "/functions/4/on_error/name",
    "/functions/4/timeout_ms",
    "/more",
    "/scheduled_at",
  ]);
});

test("what cannot be judged because of another fault is not told of", () => {
  assert.equal(paths(job({ name: 5 })), ["/functions/0/name"], "not that it has no name");
  const spoilt = job({ id: "a", name: "a", needs: ["b"] }, { id: "b", name: "b", needs: "c" });
  assert.equal(paths(spoilt), ["/functions/1/needs"], "whether there is a circle cannot be said");
  const unknown = job({ id: "a", name: "a", needs: [] }, { name: "b", needs: ["aa"], when: "results.a == 1" });
  assert.equal(paths(unknown), ["/functions/1/needs/0"], "a may have been meant");
});

test("at most 20 reasons are told, those of meaning too", () => {
  assert.is(reasonsOf(job(...Array.from({ length: 100 }, () => ({})))).length, 20);
  assert.is(reasonsOf(job(...Array.from({ length: 100 }, () => ({ name: "a", when: "nope(" })))).length, 20);
});

test("expressions are limited, in an entry and in all", () => {
  const args = (count: number) => Array.from({ length: count }, () => ({ $: "data.x" }));
  isRight(job({ name: "a", args: args(100) }));
  assert.ok(paths(job({ name: "a", args: args(101) })).includes("/functions/0/args"));
  const many = Array.from({ length: MAX_JOB_EXPRESSIONS / 100 }, () => ({ name: "a", args: args(100) }));
  isRight(job(...many));
  assert.equal(paths(job(...many, { name: "a", when: "true" })), ["/functions"]);
});

test("a thousand entries that name each other are checked in a moment", () => {
  const entry = (n: number) => ({ id: `e${n}`, name: "a", needs: n < 999 ? [`e${n + 1}`] : [], when: "!skipped.e999" });
  const backwards = Array.from({ length: 1_000 }, (_, n) =>
    n < 999 ? entry(n) : { id: "e999", name: "a", needs: [] },
  );
  const all = Array.from({ length: 700 }, (_, n) => ({
    id: `e${n}`,
    name: "a",
    needs: Array.from({ length: n }, (_, other) => `e${other}`),
    ...(n > 0 && { when: "!skipped.e0" }),
  }));
  checkJob(ORDER); // loads the library
  for (const entries of [backwards, all]) {
    const begun = performance.now();
    isRight(job(...entries));
    assert.ok(performance.now() - begun < 3_000);
  }
});

test("what a graph shows when it is read back is ignored", () => {
  const { job_id: _, ...shown } = viewOf(newJob(parseSubmission(ORDER), ORIGIN, NOW));
  const functions = shown.functions.map((fn) => ({
    ...fn,
    kind: "function",
    skipped: true,
    interrupted_count: 2,
    last_progress: { done: 5 },
    result_omitted: true,
    waiting_for: "signal",
    due_at: "2026-11-23T21:00:00Z",
    error: { code: "x" },
  }));
  const read = {
    ...shown,
    functions,
    warnings: 2,
    late_at: "2026-11-23T21:00:00Z",
    waiting_for: "signal",
    result_omitted: true,
  };
  const { data, scheduled_at, ...again } = parseSubmission(JSON.parse(JSON.stringify(read)));
  assert.equal(again, ORDER);
  assert.is(scheduled_at, shown.scheduled_at);
  assert.is(data, undefined);
});

test("the editor's $schema is ignored", () => {
  assert.equal(parseSubmission({ $schema: "./job.schema.json", ...job({ name: "a" }) }), job({ name: "a" }));
});

test("null is not given in what runs after an error, and in tags", () => {
  const on_error = { name: "b", args: null, timeout_ms: null, retry_options: { retry_limit: null } };
  assert.equal(parseSubmission({ ...job({ name: "a", on_error, when: null }), tags: { a: null } }), {
    ...job({ name: "a", on_error: { name: "b", retry_options: {} } }),
    tags: {},
  });
});

test("a stored definition, in which what is no function has an empty name, is read", () => {
  const stored = readDefinition(packDefinition(newJob(parseSubmission(ORDER), ORIGIN, NOW)));
  assert.ok(stored);
  assert.equal(parseSubmission(decode(stored.submission, "msgpack")).functions, ORDER.functions);
  assert.equal(paths(job({ name: "" })), ["/functions/0/name"], "a function needs a name");
});

test("checkJob tells what cannot be sent or read, and never throws", () => {
  assert.equal(checkJob({ ...job({ name: "a" }), data: { n: 1n } })[0]?.path, "/data/n");
  assert.equal(checkJob({ ...job({ name: "a" }), data: { n: 1n } }, { encoding: "msgpack" }), []);
  const circular: Record<string, unknown> = { x: 1 };
  circular.self = [circular, circular];
  let deep: unknown = 1;
  for (let depth = 0; depth < 20_000; depth++) deep = [deep];
  const throws = () => {
    throw new Error("not for you");
  };
  const hostile = new Proxy({}, { getPrototypeOf: throws, get: throws, ownKeys: throws });
  // Args are looked through for expressions in both kinds of jobs.
  for (const more of [{}, { id: "a" }]) {
    const [found] = checkJob(job({ name: "a", args: circular, ...more }));
    assert.equal(found?.path, "/functions/0/args/self/0");
    assert.match(found?.message ?? "", "circular");
    assert.match(
      checkJob(job({ name: "a", args: deep, ...more }))[0]?.message ?? "",
      "nested more than 200 levels deep",
    );
    const unreadable = checkJob(job({ name: "a", args: hostile, ...more }));
    assert.equal(unreadable[0]?.path, "/functions/0/args");
    assert.match(unreadable[0]?.message ?? "", "cannot be read");
  }
  const thrower = Object.defineProperty(job({ name: "a" }), "data", {
    enumerable: true,
    get() {
      throw new Error("not for you");
    },
  });
  assert.match(checkJob(thrower)[0]?.message ?? "", "not for you");
});

test("whatever a graph holds, it is accepted or refused with reasons", () => {
  const text = fc.constantFrom("a", "b", "true", "a b", "", "data.x", "results.a", "1 +");
  const spoilt = (good: fc.Arbitrary<unknown>) =>
    fc.oneof({ weight: 4, arbitrary: good }, fc.anything({ maxDepth: 1 }));
  const entry = fc.record(
    {
      id: spoilt(text),
      name: spoilt(text),
      wait_for: spoilt(text),
      sleep_ms: spoilt(fc.nat()),
      sleep_until: spoilt(fc.oneof(text, fc.record({ $: text }))),
      needs: spoilt(fc.array(spoilt(text), { maxLength: 3 })),
      when: spoilt(text),
      expect: spoilt(text),
      on_error: spoilt(fc.oneof(text, fc.record({ name: spoilt(text), args: fc.record({ $: text }) }))),
      args: spoilt(fc.record({ $: text })),
      retry_options: spoilt(fc.constant({})),
      timeout_ms: spoilt(fc.nat()),
    },
    { requiredKeys: [] },
  );
  const document = fc.record(
    {
      name: spoilt(text),
      functions: spoilt(fc.array(spoilt(entry), { maxLength: 5 })),
      tags: spoilt(fc.dictionary(text, text)),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(document, (input) => {
      try {
        const parsed = parseSubmission(input, NOW);
        assert.equal(parseSubmission(parsed, NOW), parsed);
      } catch (error) {
        if (!isAsyncError(error, "invalid_submission")) throw error;
        const found = reasonsOf(input);
        assert.ok(found.length > 0 && found.length <= 20);
      }
    }),
    { numRuns: 2_000 },
  );
});

test.run();
