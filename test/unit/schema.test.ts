import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSubmission } from "../../src/job/check.ts";
import { InvalidInputError } from "../../src/job/errors.ts";
import { createFailedJob, createJob } from "../../src/job/machine.ts";
import { MAX_DURATION_MS, MAX_FUNCTIONS, MAX_RETRY_LIMIT } from "../../src/job/schema.ts";
import type { JobState } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import { BOOM, jsonValue, NOW, newJob, ORIGIN, reasonsOf, run, SEED, same, submissionOf } from "./support.ts";

/** A valid job but for what `more` says. */
const job = (more: object = {}) => ({ ...submissionOf("a"), ...more });
const fn = (more: object) => job({ functions: [{ name: "a", ...more }] });
const reasons = (input: unknown) => reasonsOf(input).map(({ path, message }) => `${path} ${message}`);

test("the jobs of the original system are valid", () => {
  assert.equal(parseSubmission(SEED.job_simple), SEED.job_simple);
  assert.equal(parseSubmission(SEED.job_chain), SEED.job_chain);
  assert.equal(parseSubmission(SEED.job_retry), SEED.job_retry);
});

test("a retry_count in a submission, as in the original's test.json, is ignored", () => {
  const { functions } = parseSubmission(SEED.test);
  assert.equal(functions[1], { name: "/v1/test-fail", args: [1, "2", 3], retry_options: { retry_limit: 3 } });
});

test("every field that exists is kept as it was given", () => {
  const full = {
    job_id: "order-1",
    name: "test",
    functions: [
      {
        name: "a",
        args: { deep: [null, { x: null }] },
        retry_options: {
          retry_limit: 3,
          backoff: { type: "fixed", delay_ms: 0, factor: 1, max_delay_ms: 5, jitter: 0.5 },
        },
        timeout_ms: 1,
      },
    ],
    data: [1, "two", null],
    timeout_ms: 1,
    scheduled_at: "2026-11-23T21:00:00Z",
  };
  assert.equal(parseSubmission(full), full);
});

test("what is valid as it is comes back itself, null for data and args included", () => {
  const input = job({
    data: null,
    functions: [{ name: "a", args: null, retry_options: { backoff: { delay_ms: 5 } } }],
  });
  assert.is(parseSubmission(input), input);
  assert.is(parseSubmission(Object.assign(Object.create(null), input)).name, "test");
});

test("null args are not given: the job does not show them", () => {
  const { state } = createJob(parseSubmission(fn({ args: null })), ORIGIN, NOW);
  assert.not.ok(Object.hasOwn(viewOf(state).functions[0] ?? {}, "args"));
});

test("the input is not changed", () => {
  const input = { ...SEED.test, state: "failed", data: null };
  const copy = structuredClone(input);
  parseSubmission(input);
  assert.equal(input, copy);
});

test("what is no object is refused", () => {
  for (const input of [null, undefined, 1, "job", true, [], [job()], 10n, Symbol("x"), () => job()]) {
    assert.is(reasonsOf(input)[0]?.path, "");
  }
});

test("all that is wrong is listed, not only the first", () => {
  const input = {
    name: "",
    functions: [{}, { name: 5, timeout_ms: 0 }, { name: "a", retry_options: { retry_limit: 0, backof: {} } }],
    timeout_ms: 1.5,
    nmae: "x",
  };
  const paths = reasonsOf(input).map((reason) => reason.path);
  assert.equal(paths.toSorted(), [
    "/functions/0",
    "/functions/1/name",
    "/functions/1/timeout_ms",
    "/functions/2/retry_options/backof",
    "/functions/2/retry_options/retry_limit",
    "/name",
    "/nmae",
    "/timeout_ms",
  ]);
});

test("all that is wrong in meaning is listed too", () => {
  const input = { ...submissionOf("a b", "ok", "x.*"), job_id: "a.b", scheduled_at: "tomorrow" };
  assert.equal(
    reasonsOf(input).map((reason) => reason.path),
    ["/functions/0/name", "/functions/2/name", "/job_id", "/scheduled_at"],
  );
});

test("reasons stand in the order of the document, those of an entry together", () => {
  const input = {
    tiemout_ms: 1,
    functions: [
      ...Array.from({ length: 10 }, () => ({ name: "ok" })),
      { id: "x", needs: ["nope"], retries: 3, name: "a b" },
      { args: { $: "data.total +" }, timeout_ms: 0, "a/b": 1, name: "ok", when: "1" },
    ],
    scheduled_at: "2026-11-31T00:00:00Z",
  };
  assert.equal(
    reasonsOf(input).map((reason) => reason.path),
    [
      "/name",
      "/tiemout_ms",
      "/functions/10/needs/0",
      "/functions/10/retries",
      "/functions/10/name",
      "/functions/11/args",
      "/functions/11/timeout_ms",
      "/functions/11/a~1b",
      "/functions/11/when",
      "/scheduled_at",
    ],
  );
});

test("an array with holes is refused as one with entries that are missing", () => {
  assert.equal(reasons({ name: "holes", functions: new Array(2) }).length, 2);
  assert.match(reasons({ name: "holes", functions: new Array(1) })[0] ?? "", "/functions/0 ");
});

test("at most 20 reasons are listed, each path once", () => {
  for (const name of ["", "a b", 5]) {
    const found = reasonsOf({ name: "test", functions: Array.from({ length: 100 }, () => ({ name })) });
    assert.is(found.length, 20);
    assert.is(new Set(found.map((reason) => reason.path)).size, 20);
  }
});

test("the error names its code and each reason in its message", () => {
  try {
    parseSubmission({ functions: [] });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, InvalidInputError);
    assert.is((error as InvalidInputError).code, "invalid_submission");
    assert.match((error as InvalidInputError).message, "/name is required");
    assert.match((error as InvalidInputError).message, "/functions must have a length");
  }
});

test("the reasons read as sentences after their path", () => {
  const cases: [unknown, string][] = [
    [{ functions: [{ name: "a" }] }, "/name is required"],
    [{ name: "a" }, "/functions is required"],
    [job({ name: 5 }), "/name must be string"],
    [job({ functions: {} }), "/functions must be array"],
    [job({ functions: ["a"] }), "/functions/0 must be object"],
    [job({ timeout_ms: "5" }), "/timeout_ms must be integer"],
    [job({ color: 1 }), "/color is not a known field"],
    [fn({ retry_options: { retries: 3 } }), "/functions/0/retry_options/retries is not a known field"],
    [
      fn({ retry_options: { backoff: { type: "linear" } } }),
      '/functions/0/retry_options/backoff/type must be "exponential" or "fixed"',
    ],
  ];
  for (const [input, reason] of cases) assert.equal(reasons(input), [reason]);
});

test("misspelt fields are refused wherever they are", () => {
  for (const [input, path] of [
    [job({ function: [] }), "/function"],
    [job({ Name: "x" }), "/Name"],
    [job({ retry_options: {} }), "/retry_options"],
    [job({ retry_count: 0 }), "/retry_count"],
    [fn({ arg: 1 }), "/functions/0/arg"],
    [fn({ retry_option: {} }), "/functions/0/retry_option"],
    [fn({ retry_options: { retrylimit: 1 } }), "/functions/0/retry_options/retrylimit"],
    [fn({ retry_options: { backoff: { delay: 1 } } }), "/functions/0/retry_options/backoff/delay"],
  ] as const) {
    assert.equal(
      reasonsOf(input).map((reason) => reason.path),
      [path],
    );
  }
});

test("the limits are accepted, what lies beyond is refused", () => {
  const backoff = (more: object) => fn({ retry_options: { backoff: more } });
  const many = (length: number) => job({ functions: Array.from({ length }, () => ({ name: "a" })) });
  const cases: [string, unknown[], unknown[]][] = [
    [
      "/name",
      [job({ name: "x" }), job({ name: "x".repeat(256) })],
      [job({ name: "" }), job({ name: "x".repeat(257) })],
    ],
    ["/functions", [many(1), many(MAX_FUNCTIONS)], [many(0), many(MAX_FUNCTIONS + 1)]],
    [
      "/timeout_ms",
      [job({ timeout_ms: 1 }), job({ timeout_ms: MAX_DURATION_MS })],
      [0, -1, 0.5, MAX_DURATION_MS + 1, Number.NaN, Number.POSITIVE_INFINITY].map((timeout_ms) => job({ timeout_ms })),
    ],
    [
      "/functions/0/timeout_ms",
      [fn({ timeout_ms: 1 }), fn({ timeout_ms: MAX_DURATION_MS })],
      [fn({ timeout_ms: 0 }), fn({ timeout_ms: MAX_DURATION_MS + 1 })],
    ],
    [
      "/functions/0/retry_options/retry_limit",
      [1, MAX_RETRY_LIMIT].map((retry_limit) => fn({ retry_options: { retry_limit } })),
      [0, -1, 1.5, MAX_RETRY_LIMIT + 1, "3"].map((retry_limit) => fn({ retry_options: { retry_limit } })),
    ],
    [
      "/functions/0/retry_options/backoff/delay_ms",
      [backoff({ delay_ms: 0 }), backoff({ delay_ms: MAX_DURATION_MS })],
      [backoff({ delay_ms: -1 }), backoff({ delay_ms: MAX_DURATION_MS + 1 }), backoff({ delay_ms: 0.5 })],
    ],
    [
      "/functions/0/retry_options/backoff/factor",
      [backoff({ factor: 1 }), backoff({ factor: 1.5 }), backoff({ factor: 1_000 })],
      [backoff({ factor: 0.9 }), backoff({ factor: 1_001 }), backoff({ factor: Number.NaN })],
    ],
    [
      "/functions/0/retry_options/backoff/jitter",
      [backoff({ jitter: 0 }), backoff({ jitter: 1 })],
      [backoff({ jitter: -0.1 }), backoff({ jitter: 1.1 })],
    ],
    ["/job_id", [job({ job_id: "x".repeat(128) })], [job({ job_id: "x".repeat(129) }), job({ job_id: "seq-5" })]],
  ];
  for (const [path, good, bad] of cases) {
    for (const input of good) assert.not.throws(() => parseSubmission(input), path);
    for (const input of bad) {
      assert.equal(
        reasonsOf(input).map((reason) => reason.path),
        [path],
      );
    }
  }
});

test("null is 'not given' for an optional field and a missing one for a required field", () => {
  const nulls = { job_id: null, data: null, timeout_ms: null, scheduled_at: null };
  const input = job({ ...nulls, functions: [{ name: "a", args: null, retry_options: null, timeout_ms: null }] });
  assert.equal(parseSubmission(input), submissionOf("a"));
  assert.equal(reasons({ name: null, functions: null }), ["/name is required", "/functions is required"]);
});

test("null is 'not given' inside of retry_options too", () => {
  const retry_options = { retry_limit: null, backoff: { delay_ms: null, type: null } };
  const parsed = parseSubmission(fn({ retry_options }));
  assert.not.match(JSON.stringify(parsed), "null");
});

test("an undefined option is not given: no default is lost to it", () => {
  const backoff = {
    delay_ms: undefined,
    factor: undefined,
    max_delay_ms: undefined,
    jitter: undefined,
    type: undefined,
  };
  let submission: ReturnType<typeof parseSubmission>;
  try {
    submission = parseSubmission(fn({ retry_options: { retry_limit: 2, backoff } }));
  } catch (error) {
    assert.instance(error, InvalidInputError, "or it is refused");
    return;
  }
  const { executions } = run(newJob(submission), () => "fail");
  assert.is(executions.length, 2);
});

test("a scheduled start is a date that exists, with a time zone", () => {
  const good = [
    "2026-11-23T21:00:00Z",
    "2026-11-23T21:00Z",
    "2026-11-23T21:00:00.5Z",
    "2026-11-23T21:00:00.123456789+05:30",
    "2028-02-29T00:00:00-12:00",
    "1999-01-01T00:00:00Z",
  ];
  const bad = [
    "",
    "tomorrow",
    "2026-11-23",
    "2026-11-23T21:00:00",
    "2026-11-23 21:00:00Z",
    "2026-11-23T21:00:00z",
    "2026-13-01T00:00:00Z",
    "2026-11-23T25:00:00Z",
    "2026-11-23T21:60:00Z",
    "2026-11-23T21:00:00+99:99",
    "20261123T210000Z",
    "+012026-11-23T21:00:00Z",
    "2026-11-23T21:00:00Z\n",
    "1790000000000",
  ];
  for (const scheduled_at of good) assert.is(parseSubmission(job({ scheduled_at })).scheduled_at, scheduled_at);
  for (const scheduled_at of bad) {
    assert.equal(
      reasonsOf(job({ scheduled_at })).map((reason) => reason.path),
      ["/scheduled_at"],
    );
  }
  assert.equal(
    reasonsOf(job({ scheduled_at: NOW })).map((reason) => reason.path),
    ["/scheduled_at"],
  );
});

test("a day that its month does not have is refused, not moved into the next month", () => {
  for (const scheduled_at of ["2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z", "2026-02-29T00:00:00Z"]) {
    assert.throws(() => parseSubmission(job({ scheduled_at })), /scheduled_at/, scheduled_at);
  }
});

/** Jobs in every phase, as users read them. */
function states(): JobState[] {
  const chain = { ...parseSubmission(SEED.job_chain), job_id: "job-1", data: { x: [1] }, timeout_ms: 60_000 };
  const made = createJob({ ...chain, scheduled_at: "2026-11-23T22:00:00Z" }, ORIGIN, NOW);
  const done = run(newJob(chain), () => "ok");
  const broken = run(newJob(parseSubmission(SEED.test)), (name) => (name === "/v1/test-fail" ? "fail" : "ok"));
  return [made.state, createJob(chain, ORIGIN, NOW).state, done.state, broken.state];
}

test("a job that was read can be submitted again, in whatever state it is", () => {
  for (const state of states()) {
    const view = JSON.parse(JSON.stringify(viewOf(state)));
    const again = parseSubmission(view);
    assert.is(again.job_id, state.job_id);
    assert.equal(
      again.functions.map((one) => one.name),
      state.functions.map((one) => one.name),
    );
    assert.equal(again.data ?? null, state.data);
    const shown = Object.keys(again).filter((key) => !["job_id", "name", "functions", "data"].includes(key));
    assert.ok(shown.every((key) => key === "timeout_ms" || key === "scheduled_at"));
  }
});

test("a job whose id was made from its sequence can be submitted again without the id", () => {
  const { job_id, ...view } = viewOf(createJob(submissionOf("a"), { ...ORIGIN, jobId: "seq-7" }, NOW).state);
  assert.is(job_id, "seq-7");
  assert.equal(parseSubmission(view).functions, [{ name: "a" }]);
});

test("a failed job without functions is no valid job", () => {
  const view = viewOf(createFailedJob(BOOM, "", ORIGIN, NOW).state);
  assert.equal(
    reasonsOf(view)
      .map((reason) => reason.path)
      .toSorted(),
    ["/functions", "/name"],
  );
});

test("keys of prototypes are refused as fields and pollute nothing", () => {
  for (const key of ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"]) {
    const text = (more: string) => JSON.parse(`{"name":"t","functions":[{"name":"a"${more}}]${more}}`);
    const input = text(`,"${key}":{"polluted":true,"timeout_ms":5}`);
    const found = reasonsOf(input).map((reason) => reason.path);
    assert.equal(found.toSorted(), [`/${key}`, `/functions/0/${key}`].toSorted());
    assert.is(({} as Record<string, unknown>).polluted, undefined);
  }
});

test("keys of prototypes in data and args are values like others", () => {
  const data = JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}');
  const parsed = parseSubmission({ ...fn({ args: data }), data });
  assert.ok(same(parsed.data, data));
  assert.ok(same(parsed.functions[0]?.args, data));
  assert.is(({} as Record<string, unknown>).polluted, undefined);
});

test("fields are not taken from a prototype", () => {
  assert.throws(() => parseSubmission(Object.create(job())), /name is required/);
  assert.throws(
    () => parseSubmission(job({ functions: [Object.create({ name: "a" })] })),
    /functions\/0 must have one of name/,
  );
  const backoff = Object.create({ delay_ms: 5 });
  assert.equal(
    Object.keys(parseSubmission(fn({ retry_options: { backoff } })).functions[0]?.retry_options?.backoff ?? {}),
    [],
  );
});

/** Throws only what says that the input is invalid; what is accepted is one more time accepted, unchanged. */
function survives(input: unknown): void {
  let parsed: unknown;
  try {
    parsed = parseSubmission(input);
  } catch (error) {
    assert.instance(error, InvalidInputError);
    assert.ok((error as InvalidInputError).reasons.length > 0);
    assert.ok((error as InvalidInputError).reasons.length <= 20);
    return;
  }
  assert.ok(same(parseSubmission(parsed), parsed));
}

const anything = fc.anything({
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
});

test("whatever comes, it is a submission or an InvalidInputError", () => {
  fc.assert(fc.property(anything, survives), { numRuns: 500 });
});

test("a list that leaves an entry out is refused", () => {
  const isRefusal = (error: unknown) => error instanceof InvalidInputError;
  // biome-ignore lint/suspicious/noSparseArray: that is what is tested
  assert.throws(() => parseSubmission({ name: "test", functions: [, { name: "a" }] }), isRefusal);
});

test("whatever the fields of a submission hold, it is a submission or an InvalidInputError", () => {
  const spoilt = (good: fc.Arbitrary<unknown>) => fc.oneof({ weight: 3, arbitrary: good }, anything);
  const retry_options = fc.dictionary(fc.constantFrom("retry_limit", "backoff", "x"), spoilt(fc.integer()));
  const functions = fc.array(
    spoilt(
      fc.record(
        {
          name: spoilt(fc.constantFrom("a", "b c", "")),
          args: anything,
          retry_options: spoilt(retry_options),
          timeout_ms: spoilt(fc.integer()),
        },
        { requiredKeys: [] },
      ),
    ),
    { maxLength: 5 },
  );
  const input = fc.record(
    {
      job_id: spoilt(fc.string()),
      name: spoilt(fc.string()),
      functions: spoilt(functions),
      data: anything,
      timeout_ms: spoilt(fc.integer()),
      scheduled_at: spoilt(fc.date({ noInvalidDate: true }).map((date) => date.toISOString())),
    },
    { requiredKeys: [] },
  );
  fc.assert(fc.property(input, survives), { numRuns: 1_000 });
});

test("any data and args are accepted and kept", () => {
  fc.assert(
    fc.property(jsonValue, jsonValue, (data, args) => {
      const parsed = parseSubmission({ ...fn({ args }), data });
      assert.ok(same(parsed.data ?? null, data));
      assert.ok(same(parsed.functions[0]?.args ?? null, args));
    }),
    { numRuns: 200 },
  );
});

test("a start that is too far ahead, or before all time, is refused", () => {
  const problemsAt = (scheduled_at: string, now?: number) => {
    try {
      parseSubmission(job({ scheduled_at }), now);
      return [];
    } catch (error) {
      assert.instance(error, InvalidInputError);
      return (error as InvalidInputError).reasons;
    }
  };
  const latest = NOW + MAX_DURATION_MS;
  assert.equal(problemsAt(new Date(latest).toISOString(), NOW), []);
  const tooFar = [{ path: "/scheduled_at", message: "must be at most ten years ahead" }];
  assert.equal(problemsAt(new Date(latest + 1).toISOString(), NOW), tooFar);
  assert.equal(problemsAt("2300-01-01T00:00:00Z", NOW), tooFar);
  assert.equal(problemsAt("9999-12-31T23:59:59-23:59", NOW), tooFar, "the year 10000 of UTC");
  assert.equal(problemsAt("2300-01-01T00:00:00Z"), [], "what is stored is read");
  // Before the epoch it could be stored, but not be read again.
  const before = [{ path: "/scheduled_at", message: "must not be before 1970" }];
  assert.equal(problemsAt("1969-12-31T23:59:59Z", NOW), before);
  assert.equal(problemsAt("0000-01-01T00:00:00Z"), before);
  assert.equal(problemsAt("1970-01-01T00:00:00Z", NOW), []);
});

test.run();
