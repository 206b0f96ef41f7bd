/** The JSON Schema of jobs: a validator that knows nothing of us says of a document what the checks say of its shape. */
import { readdir, readFile } from "node:fs/promises";
import { Ajv } from "ajv";
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkJob } from "../../src/job/check.ts";
import { type JsonSchema, jobSchema } from "../../src/job/json-schema.ts";
import { FunctionSpec, Submission } from "../../src/job/schema.ts";
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
  ];
  for (const [document, place] of cases) {
    assert.ok(places(document).includes(place), `${JSON.stringify(document)}: ${places(document)}`);
    assert.ok(checkJob(document, { now: NOW }).length > 0);
  }
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
  const entry = fc.record(
    {
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
  const few = fc.tuple(entry, some("name", "wait_for", "sleep_ms", "sleep_until", "")).chain(([one, kind]) => {
    return fc.shuffledSubarray(Object.keys(one)).map((keys) => pick(one, [...keys.slice(0, 2), String(kind)]));
  });
  const document = fc.record(
    {
      name: some("test", "", 5),
      functions: fc.oneof({ weight: 9, arbitrary: fc.array(few, { minLength: 1, maxLength: 2 }) }, some([], {}, 5)),
      job_id: some("x", "seq-1", "a b", "seq-x"),
      notify: some("x", "a.b"),
      tags: some({}, { a: "b" }, { a: "" }, { "a b": "c" }, { a: 5 }, []),
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
  fc.assert(property, { numRuns: 3_000 });
  assert.ok(right > 200, `${right} were right`);
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
  const { items } = job.functions as { items: { properties: Record<string, JsonSchema> } };
  const entry = items.properties;
  assert.equal(Object.keys(job).toSorted(), ["$schema", ...Object.keys(Submission.properties)].toSorted());
  assert.equal(Object.keys(entry).toSorted(), Object.keys(FunctionSpec.properties).toSorted());
  for (const [field, { description }] of [...Object.entries(job), ...Object.entries(entry)]) {
    assert.type(description, "string", field);
  }
  assert.is(job.functions?.maxItems, 1_000);
});

test.run();
