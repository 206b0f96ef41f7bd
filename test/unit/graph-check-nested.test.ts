/** What is wrong with child jobs, items, undo and what is called on failure: told as all else is, at its place in the whole document. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkJob, parseDocument, parseSubmission } from "../../src/job/check.ts";
import { formatOfDocument, inlineJob, MAX_ENTRIES, nestedIn } from "../../src/job/document.ts";
import { MAX_JOB_EXPRESSIONS } from "../../src/job/graph-check.ts";
import { MAX_DEPTH, MAX_FUNCTIONS, MAX_ITEMS } from "../../src/job/schema.ts";
import type { JobState } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import { ALL, CHILD, MODEL } from "../support/model-documents.ts";
import { BOOM, NOW, newJob } from "./support.ts";

const job = (...functions: unknown[]) => ({ name: "test", functions });
const told = (input: unknown) => checkJob(input, { now: NOW }).map(({ path, message }) => `${path} ${message}`);
const paths = (input: unknown) => checkJob(input, { now: NOW }).map(({ path }) => path);
const isRight = (input: unknown) => assert.equal(checkJob(input, { now: NOW }), []);

test("the document of the model, and one with everything, are right, come back themselves, and are graphs of format 2", () => {
  for (const document of [MODEL, ALL]) {
    isRight(document);
    assert.is(parseSubmission(document, NOW), document);
    assert.is(parseDocument(document, NOW).isGraph, true);
    assert.is(formatOfDocument(parseSubmission(document, NOW)), 2);
  }
});

test("each of the new fields alone makes a graph, and is kept", () => {
  const each = [
    job({ job: CHILD }),
    job({ job: { $: "data.plan" } }),
    job({ name: "a", for_each: 5 }),
    job({ name: "a", undo: "b" }),
    { ...job({ name: "a" }), on_failure: "b" },
    { ...job({ name: "a" }), on_failure: { name: "b", args: 1 } },
  ];
  for (const document of each) {
    assert.equal(parseDocument(document, NOW), { submission: document, isGraph: true });
    assert.is(formatOfDocument(parseSubmission(document)), 2);
  }
});

test("all that is wrong in a child is told with all else, with what may have been meant", () => {
  const inner = { nmae: "x", functions: [{ nmae: "y", timeout_ms: "5" }, { id: "a", name: "a", needs: ["aa"] }, {}] };
  assert.equal(told({ ...job({ name: "a", needs: ["x"] }, { job: inner }), tiemout_ms: 5 }), [
    "/functions/0/needs/0 names x, and no entry has that id",
    "/functions/1/job/nmae is not a known field; did you mean name?",
    "/functions/1/job/functions/0 must have one of name, wait_for, sleep_ms, sleep_until and job",
    "/functions/1/job/functions/0/nmae is not a known field; did you mean name?",
    "/functions/1/job/functions/0/timeout_ms must be integer",
    "/functions/1/job/functions/1/needs/0 names aa, and no entry has that id; did you mean a?",
    "/functions/1/job/functions/2 must have one of name, wait_for, sleep_ms, sleep_until and job",
    "/tiemout_ms is not a known field; did you mean timeout_ms?",
  ]);
  const twice = {
    functions: [
      {
        job: {
          functions: [
            { id: "a", name: "a" },
            { id: "a", name: "a b" },
          ],
        },
      },
    ],
  };
  assert.equal(told(job({ job: twice })), [
    "/functions/0/job/functions/0/job/functions/1/id is the id of /functions/0/job/functions/0/job/functions/0 already",
    "/functions/0/job/functions/0/job/functions/1/name must consist of printable ASCII characters without spaces",
  ]);
  const circle = {
    functions: [
      { id: "a", name: "a", needs: ["b"] },
      { id: "b", name: "b", needs: ["a"] },
    ],
  };
  assert.equal(paths(job({ job: circle })), ["/functions/0/job/functions/0/needs"]);
});

test("a child has no name of need, and none of what is for the outermost job", () => {
  isRight(job({ job: CHILD }));
  assert.equal(told(job({ job: { ...CHILD, job_id: "x", notify: "y", scheduled_at: "2026-11-23T21:00:00Z" } })), [
    "/functions/0/job/job_id is for the outermost job: the id of a child follows from its parent",
    "/functions/0/job/notify is for the outermost job: the end of a child is told to its parent",
    "/functions/0/job/scheduled_at is for the outermost job: a child begins when its entry does; let it follow a sleep_until",
  ]);
  assert.equal(told(job({ job: { ...CHILD, name: "" } })), ["/functions/0/job/name must have a length of at least 1"]);
});

test("what is neither a job nor an expression that gives one is told as what was meant", () => {
  const of = (one: unknown) => told(job({ job: one }));
  for (const one of [5, "x", [], true]) {
    assert.equal(of(one), ["/functions/0/job must be a job, or an expression that gives one"]);
  }
  assert.equal(of({}), ["/functions/0/job/functions is required"]);
  assert.equal(of({ functions: [] }), ["/functions/0/job/functions must have a length of at least 1"]);
  assert.equal(of({ $: 5 }), ["/functions/0/job/$ must be string"]);
  assert.equal(of({ $: "data.x", name: "x" }), ["/functions/0/job/name is not a known field"]);
  assert.equal(of({ $: "data.x", ...CHILD }), ["/functions/0/job/$ is not a known field"]);
  assert.equal(of({ $: "1 + 1" }), ["/functions/0/job must give a job, and gives an int"]);
  isRight(job({ job: { $: "{'functions': [{'name': 'x'}]}" } }));
});

test("expressions of a child know its own names; its data those of the parent", () => {
  const parent = (inner: object, more: object = {}) => job({ id: "a", name: "a" }, { id: "c", job: inner, ...more });
  const inner = (args: string, data: unknown = null) => ({
    data,
    functions: [
      { id: "b", name: "b" },
      { name: "c", args: { $: args } },
    ],
  });
  isRight(parent(inner("results.b", { x: [{ $: "results.a" }] })));
  assert.equal(told(parent(inner("results.a"))), [
    "/functions/1/job/functions/1/args `results.a`: no entry has the id `a`: did you mean `b`? (a child knows only its own entries, hand it what it needs as data)",
  ]);
  assert.match(told(parent(inner("item"), { for_each: 3 }))[0] ?? "", "hand it what it needs as data");
  assert.equal(paths(parent(inner("data", { $: "results.b" }))), ["/functions/1/job/data"]);
  assert.equal(paths(parent(inner("data", { x: { $: "results.c" } }))), ["/functions/1/job/data/x"], "itself");
  assert.equal(paths(parent(inner("item"), { for_each: 3 })), ["/functions/1/job/functions/1/args"]);
  isRight(parent(inner("data", { $: "item + item_index" }), { for_each: 3 }));
  assert.equal(paths(parent(inner("data", { $: "item" }))), ["/functions/1/job/data"]);
  assert.equal(paths(parent(inner("data", { $: "result" }))), ["/functions/1/job/data"]);
  const later = job({ id: "a", name: "a", needs: [] }, { job: inner("data", { $: "results.a" }), needs: [] });
  assert.match(told(later)[0] ?? "", "/functions/1/job/data `results.a` may not have ended by then: add it to `needs`");
});

test("only the data of a child are evaluated by its parent: elsewhere a mark is a value of the child, or a fault", () => {
  assert.equal(paths(job({ job: { ...CHILD, tags: { a: { $: "data.x" } } } })), ["/functions/0/job/tags/a"]);
  assert.equal(paths(job({ job: { ...CHILD, timeout_ms: { $: "data.x" } } })), ["/functions/0/job/timeout_ms"]);
});

/** A document that is in so many others. */
function nested(depth: number): { functions: unknown[] } {
  return depth === 0 ? CHILD : { functions: [{ job: nested(depth - 1) }] };
}

test("jobs are in jobs at most eight deep", () => {
  isRight({ name: "x", ...nested(MAX_DEPTH) });
  const tooDeep = { name: "x", ...nested(MAX_DEPTH + 1) };
  const place = "/functions/0/job".repeat(MAX_DEPTH + 1);
  assert.equal(paths(tooDeep), [place]);
  assert.match(told(tooDeep)[0] ?? "", "would be in 9 jobs: at most 8 are taken");
  const circular: { name: string; functions: unknown[] } = { name: "x", functions: [] };
  circular.functions.push({ job: circular });
  assert.equal(paths(circular), [place]);
  const planned = { functions: [{ job: { $: "data.plan" } }] };
  let deepest: { functions: unknown[] } = planned;
  for (let depth = 0; depth < MAX_DEPTH; depth++) deepest = { functions: [{ job: deepest }] };
  assert.equal(paths({ name: "x", ...deepest }), [place], "what a worker makes would be as deep");
});

test("a document of shared parts that never ends is told to have too many entries", () => {
  let shared: { functions: unknown[] } = CHILD;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const job = shared;
    shared = { functions: Array.from({ length: MAX_FUNCTIONS }, () => ({ job })) };
  }
  assert.equal(told({ name: "x", ...shared }), [
    `/functions must have at most ${MAX_ENTRIES} entries, those of the jobs in it included`,
  ]);
});

test("the expressions of children count as those of the job, and too many are told once", () => {
  const args = Array.from({ length: 100 }, () => ({ $: "data.x" }));
  const many = (count: number) => ({ functions: Array.from({ length: count }, () => ({ name: "a", args })) });
  isRight(job({ job: many(MAX_JOB_EXPRESSIONS / 100) }));
  assert.equal(paths(job({ job: many(25) }, { job: many(25) }, { job: many(1) }, { job: many(1) })), ["/functions"]);
  for (const [field, entry] of [
    ["job/data", { job: { ...CHILD, data: [...args, ...args] } }],
    ["undo/args", { name: "a", undo: { name: "b", args: [...args, ...args] } }],
    ["for_each/args", { name: "a", for_each: { name: "b", args: [...args, ...args] } }],
  ] as const) {
    assert.equal(paths(job(entry)), [`/functions/0/${field}`]);
  }
  assert.equal(paths({ ...job({ name: "a" }), on_failure: { name: "b", args: [...args, ...args] } }), [
    "/on_failure/args",
  ]);
});

test("items come from an expression, a whole number, or a function", () => {
  const each = (for_each: unknown) => told(job({ name: "a", for_each }));
  for (const right of ["data.items", "3", "data.n * 2", "[1, 2]", 0, MAX_ITEMS, { name: "s3.list" }]) {
    assert.equal(each(right), [], JSON.stringify(right));
  }
  const one = "/functions/0/for_each must be an expression or a whole number or an object with the name of a function";
  for (const wrong of [true, []]) assert.equal(each(wrong), [one]);
  assert.equal(each(-1), ["/functions/0/for_each must be integer of at least 0"]);
  assert.equal(each(0.5), ["/functions/0/for_each must be integer"]);
  assert.equal(each(MAX_ITEMS + 1), [`/functions/0/for_each must be integer of at most ${MAX_ITEMS}`]);
  assert.equal(each({}), ["/functions/0/for_each/name is required"]);
  assert.equal(each({ name: "a", cursor: 1 }), ["/functions/0/for_each/cursor is not a known field"]);
  assert.equal(each("'items'"), ["/functions/0/for_each must give a list or a whole number, and gives a string"]);
  assert.equal(each("item"), [
    "/functions/0/for_each `item` is not known here; known: data, results, errors, skipped, job",
  ]);
  assert.equal(each({ name: "a", args: { $: "item" } }), [
    "/functions/0/for_each/args `item` is not known here; known: data, results, errors, skipped, job",
  ]);
});

test("how items are done is said with for_each only, and within limits", () => {
  const each = (options: object) => told(job({ name: "a", for_each: 5, ...options }));
  assert.equal(each({ concurrency: 1_000, tolerate: "0.25%", slice: 1, results: "none", context: false }), []);
  for (const tolerate of [0, 5, "100%", "99.9%"]) assert.equal(each({ tolerate }), []);
  for (const tolerate of ["5", "101%", "-1%", "%", "1.234%", ""]) {
    assert.equal(each({ tolerate }), ['/functions/0/tolerate must be a count, or a share from "0%" to "100%"']);
  }
  assert.equal(each({ tolerate: -1 }), ["/functions/0/tolerate must be integer of at least 0"]);
  assert.equal(each({ tolerate: true }), ['/functions/0/tolerate must be a count or a share such as "5%"']);
  assert.equal(each({ concurrency: 0, slice: 0, results: "some", context: 1 }), [
    "/functions/0/concurrency must be integer of at least 1",
    "/functions/0/slice must be integer of at least 1",
    '/functions/0/results must be "keep" or "none"',
    "/functions/0/context must be boolean",
  ]);
  const options = { concurrency: 5, tolerate: 1, slice: 2, results: "keep", context: true };
  for (const [option, value] of Object.entries(options)) {
    assert.equal(told(job({ name: "a", [option]: value })), [
      `/functions/0/${option} says how items are done: it goes with for_each`,
    ]);
  }
  assert.equal(each({ concurrency: 5, for_each: -1, args: { $: "item" } }), [
    "/functions/0/for_each must be integer of at least 0",
  ]);
});

test("items are of functions and jobs, and what goes with neither is refused", () => {
  assert.equal(told(job({ wait_for: "x", for_each: 5, undo: "y" })), [
    "/functions/0/for_each is for functions and jobs: a signal is waited for once",
  ]);
  assert.equal(told(job({ sleep_ms: 5, for_each: 5, undo: "y" })), [
    "/functions/0/for_each is for functions and jobs: a sleep has no items",
    "/functions/0/undo is for what does something: there is nothing to undo in a sleep",
  ]);
  assert.equal(told(job({ job: CHILD, for_each: 5, context: true, args: 1, timeout_ms: 5, retry_options: {} })), [
    "/functions/0/context is for functions: a child job is given data",
    "/functions/0/args is for functions: a child job is given data",
    "/functions/0/timeout_ms is for functions: give the child a timeout_ms of its own",
    "/functions/0/retry_options is for functions: give those of the child's functions",
  ]);
  assert.equal(told(job({ name: "a", job: CHILD })), [
    "/functions/0 has both name and job: an entry does one thing, so make an entry of each",
  ]);
});

test("each of the new places of an expression has its own names", () => {
  const places: [object, string | undefined][] = [
    [{ args: { $: "item" } }, undefined],
    [{ when: "item == 1" }, "when"],
    [{ expect: "size(result) > 1" }, undefined],
    [{ expect: "item == 1" }, "expect"],
    [{ on_error: { name: "b", args: { $: "error.message" } } }, undefined],
    [{ on_error: { name: "b", args: { $: "item" } } }, "on_error/args"],
    [{ undo: { name: "b", args: [{ $: "item" }, { $: "item_index" }, { $: "result" }, { $: "error" }] } }, undefined],
    [{ undo: { name: "b", args: { x: { $: "nope" } } } }, "undo/args/x"],
    [{ undo: { name: "b", args: { $: "item" } }, for_each: undefined }, "undo/args"],
    [{ args: { $: "item" }, for_each: undefined }, "args"],
    [{ args: { $: "data.all.filter(item, item.x > 1)" }, for_each: undefined }, undefined],
  ];
  for (const [options, place] of places) {
    const input = job({ name: "a", for_each: 5, ...options });
    assert.equal(paths(input), place === undefined ? [] : [`/functions/0/${place}`], JSON.stringify(options));
  }
  const itself = "it is the entry itself (`result` is what it gives, in expect and undo)";
  assert.equal(told(job({ id: "a", name: "a", undo: { name: "b", args: { $: "results.a" } } })), [
    `/functions/0/undo/args \`results.a\` may not have ended by then: ${itself}`,
  ]);
});

test("an undo, and what is called on failure, are functions", () => {
  const wrong: [unknown, string][] = [
    [5, " must be the name of a function or an object with the name of a function"],
    ["a b", " must consist of printable ASCII characters without spaces"],
    ["", " must not be empty"],
    [{}, "/name is required"],
    [{ name: "a", arg: 1 }, "/arg is not a known field; did you mean args?"],
    [{ name: "a", timeout_ms: 0 }, "/timeout_ms must be integer of at least 1"],
    [{ name: "a", retry_options: { retry_limit: 0 } }, "/retry_options/retry_limit must be integer of at least 1"],
  ];
  for (const [call, message] of wrong) {
    assert.equal(told(job({ name: "a", undo: call })), [`/functions/0/undo${message}`]);
    assert.equal(told({ ...job({ name: "a" }), on_failure: call }), [`/on_failure${message}`]);
    const inner = { ...CHILD, on_failure: call };
    assert.equal(told(job({ job: inner })), [`/functions/0/job/on_failure${message}`]);
  }
});

test("no entry has certainly ended when a job has failed", () => {
  const failing = (text: string) =>
    told({ ...job({ id: "charge", name: "a" }), on_failure: { name: "b", args: { $: text } } });
  assert.equal(failing("error.message + job.name + string(data.x)"), []);
  const advice = "on_failure is handed the results of all that have, let it look there";
  for (const root of ["results", "errors", "skipped"]) {
    assert.equal(failing(`${root}.charge`), [
      `/on_failure/args \`${root}.charge\` may not have ended by then: ${advice}`,
    ]);
  }
  assert.match(failing("results.chrage")[0] ?? "", "no entry has the id `chrage`: did you mean `charge`?");
  assert.match(failing("result")[0] ?? "", "`result` is not known here");
  assert.equal(paths({ name: "x", functions: 5, on_failure: { name: "b", args: { $: "nope" } } }), [
    "/functions",
    "/on_failure/args",
  ]);
});

// --- what is given

test("null and undefined are not given, wherever they stand", () => {
  const nothing = { args: null, timeout_ms: undefined, retry_options: { backoff: { factor: undefined } } };
  const call = { name: "b", ...nothing };
  const clean = { name: "b", retry_options: { backoff: {} } };
  const inner = { name: null, tags: { a: null }, functions: [{ name: "c", undo: call, when: null }], on_failure: call };
  const input = {
    ...job({ name: "a", undo: call, for_each: call, concurrency: null }, { job: inner }),
    on_failure: call,
  };
  const copy = structuredClone(input);
  assert.equal(parseSubmission(input), {
    ...job(
      { name: "a", undo: clean, for_each: clean },
      { job: { tags: {}, functions: [{ name: "c", undo: clean }], on_failure: clean } },
    ),
    on_failure: clean,
  });
  assert.equal(input, copy, "the input stays as it is");
  for (const one of [{ undo: { name: "b", args: undefined } }, { for_each: { name: "b", args: undefined } }]) {
    const [entry] = parseSubmission(job({ name: "a", ...one })).functions;
    assert.equal(Object.keys((entry?.undo ?? entry?.for_each) as object), ["name"]);
  }
});

test("what a prototype has is not sent, in a child neither", () => {
  const strange = (own: object) => Object.assign(Object.create({ name: "hidden" }), own);
  for (const [input, path] of [
    [job({ name: "a", undo: strange({ args: 1 }) }), "/functions/0/undo/name"],
    [job({ name: "a", for_each: strange({}) }), "/functions/0/for_each/name"],
    [{ ...job({ name: "a" }), on_failure: strange({}) }, "/on_failure/name"],
    [job({ job: { functions: [strange({ id: "x" })] } }), "/functions/0/job/functions/0"],
    [job({ job: Object.create(CHILD) as object }), "/functions/0/job/functions"],
    [job({ job: { ...CHILD, on_failure: strange({}) } }), "/functions/0/job/on_failure/name"],
  ] as const) {
    assert.equal(paths(input), [path], path);
  }
});

/** As `async get --json` shows it. */
const shown = (state: JobState) => JSON.parse(JSON.stringify(viewOf(state)));

test("a job that is shown can be submitted again under a new id, whatever has become of it", () => {
  for (const document of [MODEL, ALL]) {
    const state = newJob(parseSubmission(document));
    const undoing = { name: "u", retry_count: 2, started_at: NOW, finished_at: NOW, error: BOOM };
    const functions = state.functions.map((fn) => ({
      ...fn,
      ...{ retry_count: 3, lost: 1, interrupted: 2, started_at: NOW, finished_at: NOW, result: 1, error: BOOM },
      ...{
        uncertain: true as const,
        undoing,
        apart: 40_000,
        skipped: true as const,
        last_progress: 1,
        rank: 1,
        runs: 2,
      },
      items: { run: 2, list: 1, count: 9, next: 1, open: [0], done: 4, failed: 1 },
    }));
    const changed = {
      ...state,
      ...{ functions, state: "undoing", failing: undoing, outcome: { state: "failed", error: BOOM, at: NOW } },
      ...{
        undo: { state: "done", undone: 1, failed: 0, not_undone: 0 },
        late_at: NOW,
        started_at: NOW,
        deadline_at: NOW,
      },
      ...{ parent: { job_id: "p", created_at: NOW, index: 0, item: 5, depth: 1 }, retries: 1, retried_at: NOW },
    };
    const { scheduled_at, data, ...again } = parseSubmission({ ...shown(changed as JobState), job_id: "new" });
    const { data: _, ...before } = document as { data?: unknown };
    assert.equal(again, { ...before, job_id: "new" });
    assert.equal(data, (document as { data?: unknown }).data);
    assert.is(scheduled_at, shown(state).scheduled_at);
  }
});

test("what a child shows can be given as a child, but for what is for the outermost job", () => {
  const {
    job_id: _,
    scheduled_at: _at,
    ...view
  } = shown(newJob({ name: "inner", ...CHILD, functions: [{ name: "x" }] }));
  assert.equal(parseSubmission(job({ job: { ...view, state: "failed", error: BOOM } })).functions, [
    { job: { name: "inner", functions: [{ name: "x" }] } },
  ]);
});

test("what only looks like a report is told of", () => {
  assert.equal(told({ ...job({ name: "a", items: "data.items" }), undo: "b", parent: "x" }), [
    "/functions/0/items is not a known field",
    "/undo is not a known field",
    "/parent is not a known field",
  ]);
});

test("a stored entry without a name is read where it is a job", () => {
  const stored = job({ name: "", job: { functions: [{ name: "", job: CHILD }] } });
  assert.equal(parseSubmission(stored).functions, [{ job: { functions: [{ job: CHILD }] } }]);
});

test("documents in documents are found, each after the one in which it stands", () => {
  const found = nestedIn(ALL)?.map(({ path, depth, kind }) => `${depth} ${kind} ${path}`);
  assert.equal(found, [
    "0 submission ",
    "1 child /functions/4/job",
    "1 child /functions/5/job",
    "1 expression /functions/6/job",
    "1 expression /functions/7/job",
    "2 child /functions/4/job/functions/1/job",
  ]);
  assert.is(inlineJob({ job: CHILD }), CHILD);
  assert.is(inlineJob({ job: { $: "data.x" } }), undefined);
  assert.is(inlineJob({}), undefined);
});

test.run();
