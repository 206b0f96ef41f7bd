/** Submissions that name a definition. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readSubmission, untakenJob } from "../../src/actors/submission.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import type { Definition } from "../../src/bus/store/definitions.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { InvalidInputError } from "../../src/job/errors.ts";
import { fromDefinition, isNamed, parseDefinition, parseNamed } from "../../src/job/named.ts";
import type { Submission } from "../../src/job/schema.ts";
import { isEnded } from "../../src/job/state.ts";
import { NOW } from "./support.ts";

const document: Submission = {
  name: "order",
  data: { total: 1 },
  tags: { kind: "order" },
  timeout_ms: 5_000,
  functions: [{ name: "a" }, { name: "b" }],
};

function defined(submission: unknown = document, encoding: Encoding = "json", format = 1): Definition {
  return { name: "order", version: 1, updated_at: NOW, encoding, format, document: encode(submission, encoding) };
}

function made(body: object, definition: Definition | undefined, encoding: Encoding = "json") {
  const read = readSubmission({ subject: "job.submit.x", data: encode(body, encoding), sequence: 7, storedAt: NOW });
  if (read.type !== "named") throw new Error(`it is ${read.type}`);
  return read.from(definition).first(NOW).state;
}

const reasonsOf = (work: () => unknown) => {
  try {
    work();
    return [];
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    return error.reasons.map(({ path }) => path).toSorted();
  }
};

test("it is one if it has a name and no functions", () => {
  assert.ok(isNamed({ name: "order" }));
  assert.ok(isNamed({ name: "order", functions: null, data: 1 }));
  for (const other of [
    {},
    { name: 5 },
    { data: 1 },
    { name: "a", functions: [] },
    { name: "a", functions: {} },
    null,
    "x",
    [1],
  ]) {
    assert.not(isNamed(other), JSON.stringify(other));
  }
});

test("its fields count more than those of the definition, each by itself and as a whole", () => {
  const fields = fc.record(
    { data: fc.jsonValue(), tags: fc.constant({ a: "b" }), timeout_ms: fc.constant(9), keep_ms: fc.constant(8) },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fields, (own) => {
      const whole = fromDefinition(document, parseNamed({ ...own, name: "order" }, NOW)) as unknown as Record<
        string,
        unknown
      >;
      for (const [field, value] of Object.entries({ ...document, ...own })) {
        const given = (own as Record<string, unknown>)[field] ?? null;
        const expected = given === null ? (document as unknown as Record<string, unknown>)[field] : value;
        assert.equal(whole[field], expected ?? undefined, field);
      }
    }),
  );
});

test("what it says is checked, before the definition is known", () => {
  assert.equal(
    reasonsOf(() => parseNamed({ name: "", timeout_ms: 0, fucntions: [] })),
    ["/fucntions", "/name", "/timeout_ms"],
  );
  assert.equal(
    reasonsOf(() => parseNamed({ name: "x", state: "completed", job_id: "a" })),
    [],
  );
});

test("a definition is checked as a job, and has no id", () => {
  assert.equal(parseDefinition(document), document);
  assert.equal(
    reasonsOf(() => parseDefinition({ ...document, job_id: "x" })),
    ["/job_id"],
  );
  assert.equal(
    reasonsOf(() => parseDefinition({ ...document, job_id: "a b", name: "" })),
    ["/job_id", "/name"],
  );
  assert.equal(
    reasonsOf(() => parseDefinition({ name: "x" })),
    ["/functions"],
  );
  assert.equal(parseDefinition({ ...document, job_id: null, state: "failed" }), document, "as a job is shown");
});

test("the job is that of the definition", () => {
  const job = made({ name: "order", data: 5 }, defined());
  assert.equal([job.name, job.data, job.tags, job.timeout_ms], ["order", 5, { kind: "order" }, 5_000]);
  assert.equal(
    [...job.functions].map(({ name }) => name),
    ["a", "b"],
  );
  assert.equal([job.sequence, job.created_at, job.encoding], [7, NOW, "json"]);
});

test("it is a graph if the definition or the submission makes it one", () => {
  assert.is(made({ name: "order" }, defined()).live, undefined);
  assert.ok(made({ name: "order", warn_after_ms: 5 }, defined()).live);
  assert.ok(made({ name: "order" }, defined({ ...document, functions: [{ name: "a", needs: [] }] })).live);
});

test("it is in MessagePack if one of both is", () => {
  assert.is(made({ name: "order" }, defined(document, "msgpack")).encoding, "msgpack");
  assert.is(made({ name: "order" }, defined(), "msgpack").encoding, "msgpack");
});

test("without its definition it is a failed job, as is one whose definition makes none with it", () => {
  const unknown = made({ name: "order", tags: { a: "b" } }, undefined);
  assert.ok(isEnded(unknown) && unknown.state === "failed");
  assert.equal([unknown.error.code, unknown.name], ["definition_not_found", "order"]);
  const broken = made({ name: "order" }, defined({ name: "order", functions: "none" }));
  assert.ok(isEnded(broken) && broken.state === "failed");
  assert.is(broken.error.code, "invalid_submission");
  const otherId = made({ name: "order", job_id: "y" }, defined());
  assert.ok(isEnded(otherId) && otherId.state === "failed");
  assert.match(otherId.error.message, "the body names job y, the subject x");
});

test("one that nobody has taken is shown with its definition, or without functions", async () => {
  const waiting = { subject: "job.submit.x", data: encode({ name: "order" }, "json"), sequence: 7, storedAt: NOW };
  const shown = await untakenJob(waiting, async () => defined());
  assert.equal([shown?.state, shown?.functions.length], ["pending", 2]);
  const empty = await untakenJob(waiting, async () => undefined);
  assert.equal([empty?.state, empty?.name, empty?.functions.length], ["pending", "order", 0]);
});

test.run();
