/** The JSON Schema of jobs: a validator that knows nothing of us says of a document what the checks say of its shape. */
import { readdir, readFile } from "node:fs/promises";
import { Ajv } from "ajv";
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkJob } from "../../src/job/check.ts";
import { type JsonSchema, jobSchema } from "../../src/job/json-schema.ts";
import { Child, FunctionSpec, Submission } from "../../src/job/schema.ts";
import { NOW } from "./support.ts";

const validate = new Ajv({ strict: true, strictTypes: false, allErrors: true }).compile(jobSchema());
const job = (...functions: unknown[]) => ({ name: "test", functions });
/** Where it is not as the schema says. */
const places = (document: unknown) => {
  validate(document);
  return [...new Set((validate.errors ?? []).map(({ instancePath }) => instancePath))];
};

test("the examples are valid, with the path of the schema in them too", async () => {
  for (const name of await readdir("examples/jobs")) {
    const { functions, ...example } = JSON.parse(await readFile(`examples/jobs/${name}`, "utf8"));
    // The original's has a field that only reports have.
    const definition = {
      ...example,
      functions: functions.map(({ retry_count: _, ...fn }: { retry_count?: number }) => fn),
    };
    assert.equal(places(definition), [], name);
    assert.equal(places({ $schema: "../job.schema.json", ...definition }), [], name);
  }
});

test("a job without functions is right: it runs the definition of its name", () => {
  assert.equal(places({ name: "order", data: { total: 5 } }), []);
  assert.equal(places({ name: "order", functions: null }), ["/functions"]);
});

test("bad documents are not, at the place of the fault", () => {
  const cases: [unknown, string][] = [
    [{ functions: [{ name: "a" }] }, ""],
    [job(), "/functions"],
    [{ ...job({ name: "a" }), job_id: "seq-5" }, "/job_id"],
    [{ ...job({ name: "a" }), notify: "a.b" }, "/notify"],
    [{ ...job({ name: "a" }), scheduled_at: "tomorrow" }, "/scheduled_at"],
    [{ ...job({ name: "a" }), tags: { a: "" } }, "/tags/a"],
    [{ ...job({ name: "a" }), tags: { "a b": "x" } }, "/tags"],
    [job({}), "/functions/0"],
    [job({ name: "a", sleep_ms: 1 }), "/functions/0"],
    [job({ name: "a b" }), "/functions/0/name"],
    [job({ name: "a", id: "true" }), "/functions/0/id"],
    [job({ name: "a", needs: ["a-b"] }), "/functions/0/needs/0"],
    [job({ name: "a", on_error: "retry" }), "/functions/0/on_error"],
    [job({ name: "a", on_error: {} }), "/functions/0/on_error"],
    [job({ name: "a", retry_options: { retry_limit: 0 } }), "/functions/0/retry_options/retry_limit"],
    [job({ wait_for: "x", args: [] }), "/functions/0/args"],
    [job({ sleep_ms: 5, timeout_ms: 5 }), "/functions/0/timeout_ms"],
    [job({ sleep_until: { $: 5 } }), "/functions/0/sleep_until/$"],
    [job({ name: "a", when: "" }), "/functions/0/when"],
    [{ ...job({ name: "a" }), job_id: "sub-x" }, "/job_id"],
    [{ ...job({ name: "a" }), on_failure: 5 }, "/on_failure"],
    [{ ...job({ name: "a" }), on_failure: { name: "a", arg: 1 } }, "/on_failure"],
    [job({ name: "a", job: { functions: [{ name: "b" }] } }), "/functions/0"],
    [job({ job: {} }), "/functions/0/job"],
    [job({ job: { functions: [{}] } }), "/functions/0/job/functions/0"],
    [
      job({ job: { functions: [{ job: { functions: [{ name: "a b" }] } }] } }),
      "/functions/0/job/functions/0/job/functions/0/name",
    ],
    [job({ job: { functions: [{ name: "b" }], notify: "x" } }), "/functions/0/job"],
    [job({ job: { $: 5 } }), "/functions/0/job/$"],
    [job({ job: { functions: [{ name: "b" }] }, context: true, for_each: 5 }), "/functions/0/context"],
    [job({ name: "a", for_each: -1 }), "/functions/0/for_each"],
    [job({ name: "a", for_each: {} }), "/functions/0/for_each"],
    [job({ wait_for: "a", for_each: 5 }), "/functions/0/for_each"],
    [job({ name: "a", concurrency: 5 }), "/functions/0"],
    [job({ name: "a", for_each: 5, concurrency: 0 }), "/functions/0/concurrency"],
    [job({ name: "a", for_each: 5, tolerate: "101%" }), "/functions/0/tolerate"],
    [job({ sleep_ms: 5, undo: "a" }), "/functions/0/undo"],
    [job({ name: "a", undo: { name: "b", retry_options: { retry_limit: 0 } } }), "/functions/0/undo"],
  ];
  for (const [document, place] of cases) {
    assert.ok(places(document).includes(place), `${JSON.stringify(document)}: ${places(document)}`);
    assert.ok(checkJob(document, { now: NOW }).length > 0);
  }
});

test("documents with children, items, undo and what is called on failure are valid, and an editor is led into the children", () => {
  const inner = {
    name: "x",
    data: { $: "data" },
    tags: { a: "b" },
    functions: [{ job: { functions: [{ name: "a", undo: "b" }] } }],
  };
  const document = {
    ...job(
      { name: "a", for_each: "data.items", concurrency: 5, tolerate: "5%", slice: 2, results: "none", context: true },
      { name: "a", for_each: { name: "b", args: 1 }, undo: { name: "c", timeout_ms: 5 } },
      { job: inner, for_each: 5, undo: "b" },
      { job: { $: "data.plan" } },
      { wait_for: "x", undo: "y" },
    ),
    on_failure: { name: "a", args: 1 },
  };
  assert.equal(places(document), []);
  assert.equal(checkJob(document, { now: NOW }), []);
});

test("it agrees with the checks on the shape of whatever is written", () => {
  const some = (good: unknown, ...others: unknown[]) =>
    fc.oneof({ weight: 12, arbitrary: fc.constant(good) }, ...others.map(fc.constant));
  // What only the checks can tell is left out: all ids differ, needs are empty or no ids, dates exist, no expression is wrong.
  // (An empty name of what is no function is accepted, as stored definitions have it.)
  const name = some("a", "b.c", "/v1/x", "a b", "$x", "a*", 5, "x".repeat(201));
  const duration = some(5, 1, 0, -1, 0.5, "5", 1e15);
  const text = some("true", "", 5);
  const retry_options = fc.record(
    {
      retry_limit: some(1, 0, "1"),
      retry_for_ms: duration,
      backoff: fc.record({ type: some("fixed", "x") }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  );
  const on_error = fc.oneof(
    some("fail", "continue", "x", 5),
    fc.record({ name, timeout_ms: duration, more: fc.constant(1) }, { requiredKeys: [] }),
  );
  const strangeCall = fc.record({ name, timeout_ms: duration, more: fc.constant(1) }, { requiredKeys: [] });
  const call = fc.oneof({ weight: 4, arbitrary: some("a", "a b", 5) }, strangeCall);
  const child = fc.record(
    {
      name: some("x", "", 5),
      functions: some([{ name: "a" }], [{ name: "a", undo: "b" }], [{ name: "a b" }], [], 5, [
        { sleep_ms: 5, undo: "b" },
      ]),
      data: some(5, { a: 1 }),
      on_failure: call,
      timeout_ms: duration,
      notify: fc.constant("x"),
      $: fc.constant("data"),
    },
    { requiredKeys: ["functions"] },
  );
  const entry = fc.record(
    {
      job: fc.oneof(some({ functions: [{ name: "a" }] }, 5, {}, { $: "data" }, { $: 5 }), child),
      for_each: fc.oneof(
        some(5, "data", "", -1, 0.5, true),
        fc.record({ name, more: fc.constant(1) }, { requiredKeys: [] }),
      ),
      concurrency: some(5, 0, 1_001, "5"),
      tolerate: some(5, "5%", "101%", -1, true),
      slice: some(5, 0),
      results: some("keep", "none", "x"),
      context: some(true, false, 1),
      undo: call,
      id: some("ok", "a b", "true", 5),
      name,
      wait_for: some("ok", "a.b", ""),
      sleep_ms: duration,
      sleep_until: fc.oneof(some("2026-11-23T21:00:00Z", "soon", 5), fc.record({ $: text }, { requiredKeys: [] })),
      needs: some([], ["a b"], "a", [5]),
      when: text,
      expect: text,
      on_error,
      args: some([1], "x", { a: 1 }),
      retry_options,
      timeout_ms: duration,
      more: fc.constant(1),
    },
    { requiredKeys: [] },
  );
  /** Mostly few fields, or nearly none would be right. */
  const few = fc.tuple(entry, some("name", "wait_for", "sleep_ms", "sleep_until", "job", "")).chain(([one, kind]) => {
    return fc.shuffledSubarray(Object.keys(one)).map((keys) => pick(one, [...keys.slice(0, 2), String(kind)]));
  });
  const document = fc.record(
    {
      name: some("test", "", 5),
      functions: fc.oneof({ weight: 9, arbitrary: fc.array(few, { minLength: 1, maxLength: 2 }) }, some([], {}, 5)),
      job_id: some("x", "seq-1", "a b", "seq-x"),
      notify: some("x", "a.b"),
      tags: some({}, { a: "b" }, { a: "" }, { "a b": "c" }, { a: 5 }, []),
      on_failure: call,
      scheduled_at: some("2026-11-23T21:00:00Z", "soon"),
      keep_ms: duration,
      more: fc.constant(1),
    },
    { requiredKeys: ["name", "functions"] },
  );
  let right = 0;
  const property = fc.property(document, fc.boolean(), (generated, onlyFunctions) => {
    const one = onlyFunctions ? { name: "test", functions: generated.functions } : generated;
    const input = withOwnIds(one);
    const reasons = checkJob(input, { now: NOW });
    if (reasons.length === 0) right += 1;
    assert.is(validate(input), reasons.length === 0, JSON.stringify([input, reasons, validate.errors]));
  });
  fc.assert(property, { numRuns: 4_000 });
  assert.ok(right > 100, `${right} were right`);
});

function pick(from: object, keys: string[]): object {
  return Object.fromEntries(Object.entries(from).filter(([key]) => keys.includes(key)));
}

/** Ids that are right get numbers, so that each is there once. */
function withOwnIds(document: { functions: unknown }): object {
  if (!Array.isArray(document.functions)) return document;
  const functions = document.functions.map((one, index) => (one.id === "ok" ? { ...one, id: `ok${index}` } : one));
  return { ...document, functions };
}

test("it is plain JSON with a description of each field, made anew at each call", () => {
  const schema = jobSchema();
  assert.equal(JSON.parse(JSON.stringify(schema)), schema);
  assert.is.not(jobSchema().properties, schema.properties);
  const job = schema.properties as Record<string, JsonSchema>;
  const { definitions } = schema as {
    definitions: Record<"entry" | "child", { properties: Record<string, JsonSchema> }>;
  };
  const entry = definitions.entry.properties;
  const child = definitions.child.properties;
  assert.equal(Object.keys(job).toSorted(), ["$schema", ...Object.keys(Submission.properties)].toSorted());
  assert.equal(Object.keys(entry).toSorted(), Object.keys(FunctionSpec.properties).toSorted());
  assert.equal(Object.keys(child).toSorted(), Object.keys(Child.properties).toSorted());
  for (const [field, { description }] of [job, entry, child].flatMap((one) => Object.entries(one))) {
    assert.type(description, "string", field);
  }
  assert.is(job.functions?.maxItems, 1_000);
});

test.run();
