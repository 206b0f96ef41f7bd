/** Why each entry of a job waits: of chains as the machine makes them, and of graphs whose branches are made by hand. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeExplanation } from "../../src/cli/explain.ts";
import { textWidth } from "../../src/cli/table.ts";
import { explain, functionsToAsk, MAX_ASKED, MAX_EXPLAINED } from "../../src/job/explain.ts";
import type { ExplainedEntry, ExplainReason, Facts } from "../../src/job/explanation.ts";
import { newEntry } from "../../src/job/function-state.ts";
import { createJob, reduce, untaken } from "../../src/job/machine.ts";
import { firstOf, planOf, readyAfter } from "../../src/job/plan.ts";
import type { FunctionSpec, Submission } from "../../src/job/schema.ts";
import {
  BRANCH_WAITS,
  type Branch,
  type BranchWait,
  isEnded,
  type JobState,
  type LiveJob,
} from "../../src/job/state.ts";
import { iso } from "../../src/job/time.ts";
import {
  attemptOf,
  BOOM,
  deepFreeze,
  failedWith,
  NOW,
  newJob,
  ORIGIN,
  submissionOf,
  succeededWith,
} from "./support.ts";

const MINUTE = 60_000;
const IDLE: Facts = { workers: 2, slots: 8, waiting: 0, in_flight: 1 };
const NOBODY: Facts = { workers: 0, slots: 0, waiting: 3, in_flight: 0, unserved: true };
const UNHEARD_OF: Facts = { workers: 0, slots: 0, waiting: 0, in_flight: 0 };
const FULL: Facts = { workers: 3, slots: 6, waiting: 120, in_flight: 6 };

/** A job that a supervisor has taken. */
const taken = (state: JobState): JobState => ({ ...state, version: 1 });

const chain = (...specs: FunctionSpec[]) => taken(newJob({ name: "test", functions: specs }));

const entriesOf = (state: JobState, facts?: Facts, now = NOW) => explain(state, () => facts, now).entries;

function firstEntry(state: JobState, facts?: Facts, now = NOW): ExplainedEntry {
  const [entry] = entriesOf(state, facts, now);
  if (!entry) throw new Error("there is no entry");
  return entry;
}

const textOf = (state: JobState, facts?: Facts, now = NOW) => firstEntry(state, facts, now).text;

// --- chains

test("a function that nobody serves: no_worker, since it has been due", () => {
  const entry = firstEntry(chain({ name: "x" }), NOBODY);
  assert.equal(entry, {
    index: 0,
    kind: "function",
    name: "x",
    reason: "no_worker",
    text: "no worker serves fn.x",
    since: iso(NOW),
    detail: { function: "x", attempt: 1, of: 1, workers: 0, slots: 0, waiting: 3, in_flight: 0 },
  });
  // No line, no backlog, no worker: nothing is heard of it at all.
  assert.is(firstEntry(chain({ name: "x" }), UNHEARD_OF).reason, "no_worker");
});

test("a function whose workers are full: workers_full, with how many serve it and how many wait at least", () => {
  assert.is(firstEntry(chain({ name: "x" }), FULL).reason, "workers_full");
  assert.is(textOf(chain({ name: "x" }), FULL), "3 workers serve fn.x, all full, at least 120 wait for it");
  const one = { ...FULL, workers: 1, waiting: 1 };
  assert.is(textOf(chain({ name: "x" }), one), "1 worker serves fn.x, full, at least 1 waits for it");
});

test("services that do not say what they serve are seen by what they have in flight", () => {
  const silent = { workers: 0, slots: 0, waiting: 4, in_flight: 2 };
  const entry = firstEntry(chain({ name: "x" }), silent);
  assert.is(entry.reason, "workers_full");
  assert.is(entry.text, "those who serve fn.x are full, at least 4 wait for it");
  assert.is(firstEntry(chain({ name: "x" }), { ...silent, waiting: 0 }).reason, "starting");
});

test("an attempt that is due where workers have room: starting", () => {
  const entry = firstEntry(chain({ name: "x" }), IDLE);
  assert.is(entry.reason, "starting");
  assert.is(entry.text, "an attempt of fn.x begins; its workers have room");
});

test("where nobody could be asked, it waits for a worker, and that is said", () => {
  const entry = firstEntry(chain({ name: "x" }));
  assert.is(entry.reason, "worker");
  assert.is(entry.text, "waits for a worker of fn.x; not asked who serves it");
});

test("an attempt whose start is recorded: running, since then, whatever is known of its function", () => {
  const job = chain({ name: "x" });
  const { state } = reduce(job, { type: "started", ...attemptOf(job) }, NOW + 200);
  for (const facts of [undefined, NOBODY, FULL]) {
    const { entries, state: shown } = explain(state, () => facts, NOW + MINUTE);
    assert.is(shown, "running");
    assert.is(entries[0]?.reason, "running");
    assert.is(entries[0]?.text, "fn.x runs");
    assert.is(entries[0]?.since, iso(NOW + 200));
  }
});

test("the attempt of a taken-over job is not the one that ran", () => {
  const job = chain({ name: "x" });
  const { state } = reduce(job, { type: "started", ...attemptOf(job) }, NOW);
  assert.is(firstEntry(reduce(state, { type: "resumed" }, NOW).state, FULL).reason, "workers_full");
});

const RETRIED: FunctionSpec = {
  name: "x",
  retry_options: { retry_limit: 5, backoff: { type: "fixed", delay_ms: MINUTE } },
};

test("a backoff: until when, which attempt comes, and the last error in short", () => {
  let state = chain(RETRIED, { name: "next" });
  state = reduce(state, failedWith(state), NOW).state;
  state = reduce(state, { type: "due" }, NOW + MINUTE).state;
  state = reduce(state, failedWith(state), NOW + MINUTE).state;
  const until = iso(NOW + 2 * MINUTE);
  const entry = firstEntry(state, undefined, NOW + MINUTE);
  assert.is(entry.reason, "backoff");
  assert.is(entry.until, until);
  assert.is(entry.text, `backoff until ${until}, attempt 3 of 5, last error function_failed: boom`);
  assert.equal(entry.detail, { function: "x", attempt: 3, of: 5, error: { code: "function_failed", message: "boom" } });
  assert.is(explain(state, () => undefined, NOW + MINUTE).state, "waiting");
  // When it is over, an attempt is due.
  const after = firstEntry(state, FULL, NOW + 2 * MINUTE);
  assert.is(after.reason, "workers_full");
  assert.is(after.since, until);
});

test("executions that were lost, or that came before a retry by hand, are not counted against the limit", () => {
  let state = chain(RETRIED);
  state = reduce(state, { type: "lost", ...attemptOf(state) }, NOW).state;
  state = reduce(state, { type: "lost", ...attemptOf(state) }, NOW).state;
  state = reduce(state, { type: "lost", ...attemptOf(state) }, NOW).state;
  assert.match(textOf(state), /^backoff until \S+, attempt 1 of 5, last error attempt_lost: .*3 of at most 5/);
});

test("where only time limits the retries, no number of them is named", () => {
  let state = chain({ name: "x", retry_options: { retry_for_ms: MINUTE, retry_limit: 9 } });
  state = reduce(state, failedWith(state, { retryAfterMs: MINUTE }), NOW).state;
  assert.match(textOf(state), ", attempt 2 of 9,");
  const fn = state.functions.at(0);
  if (!fn) throw new Error("there is no function");
  const unlimited = {
    ...state,
    functions: state.functions.with(0, { ...fn, retry_options: { retry_for_ms: MINUTE } }),
  };
  assert.match(textOf(unlimited), ", attempt 2, last error");
});

test("an error is one line, cut, without its stack", () => {
  const error = { ...BOOM, message: `first\nsecond ${"x".repeat(300)}`, stack: "at f (/home/me/app.ts:1:1)" };
  let state = chain(RETRIED);
  state = reduce(state, { ...failedWith(state), error } as never, NOW).state;
  const text = JSON.stringify(explain(state, () => undefined, NOW));
  assert.match(text, "first second xxx");
  assert.not.match(text, "/home/me");
  assert.ok(textOf(state).length < 300 && textOf(state).endsWith("…"));
});

test("data, args and results are never shown", () => {
  const specs = [{ name: "a", args: "SECRET" }, RETRIED, { name: "c", args: { x: "SECRET" } }];
  let state = taken(newJob({ name: "test", data: "SECRET", functions: specs }));
  state = reduce(state, succeededWith(state, "SECRET"), NOW).state;
  assert.not.match(JSON.stringify(explain(state, () => FULL, NOW)), "SECRET");
  state = reduce(state, { type: "cancelled" }, NOW).state;
  assert.not.match(JSON.stringify(explain(state, () => FULL, NOW)), "SECRET");
});

test("in a chain each later function needs the one before", () => {
  let state = chain({ name: "a" }, { name: "b" }, { name: "c" }, { name: "d" });
  state = reduce(state, succeededWith(state, 1), NOW).state;
  assert.equal(
    entriesOf(state, IDLE).map(({ index, text }) => [index, text]),
    [
      [1, "an attempt of fn.b begins; its workers have room"],
      [2, "needs entry 1"],
      [3, "needs entry 2"],
    ],
  );
});

test("a job whose start is ahead: scheduled, until then, taken or not", () => {
  const scheduled_at = iso(NOW + MINUTE);
  const { state } = createJob({ ...submissionOf("x", "y"), scheduled_at }, ORIGIN, NOW);
  for (const isTaken of [true, false]) {
    const shown = explain(state, () => FULL, NOW, undefined, isTaken);
    assert.is(shown.state, "scheduled");
    assert.is(shown.entries[0]?.reason, "scheduled");
    assert.is(shown.entries[0]?.until, scheduled_at);
    assert.is(shown.entries[1]?.reason, "needs");
    assert.equal(functionsToAsk(state, NOW, isTaken), []);
  }
  assert.is(explain(state, () => FULL, NOW + MINUTE, undefined, true).entries[0]?.reason, "workers_full");
});

test("a submission that no supervisor has taken: not_taken, and nobody is asked", () => {
  const job = newJob(submissionOf("x", "y"));
  const shown = explain(job, () => FULL, NOW);
  assert.is(shown.state, "pending");
  assert.equal(
    shown.entries.map(({ reason }) => reason),
    ["not_taken", "needs"],
  );
  assert.equal(functionsToAsk(job, NOW), []);
  assert.is(
    explain(job, () => FULL, NOW, undefined, true).entries[0]?.reason,
    "workers_full",
    "it may be taken all the same",
  );
});

test("an ended job has no entries, and what ended it", () => {
  const job = chain({ name: "x" }, { name: "y" });
  const failed = explain(reduce(job, failedWith(job), NOW).state, () => FULL, NOW + 1);
  assert.equal(failed, {
    job_id: "job-1",
    state: "failed",
    at: iso(NOW + 1),
    entries: [],
    ended: {
      at: iso(NOW),
      text: `failed at ${iso(NOW)} with entry 0: function_failed: boom`,
      index: 0,
      error: { code: "function_failed", message: "boom" },
    },
  });
  const cancelled = explain(reduce(job, { type: "cancelled" }, NOW).state, () => FULL, NOW);
  assert.equal(cancelled.ended, { at: iso(NOW), text: `cancelled at ${iso(NOW)}` });
  const half = reduce(job, succeededWith(job, 1), NOW).state;
  const completed = explain(reduce(half, succeededWith(half, 1), NOW).state, () => FULL, NOW);
  assert.equal(completed.ended, { at: iso(NOW), text: `completed at ${iso(NOW)}` });
});

test("a job that was too late has failed with no entry", () => {
  const job = taken(newJob({ ...submissionOf("x"), timeout_ms: 5 }));
  const { ended } = explain(reduce(job, { type: "expired" }, NOW + 5).state, () => FULL, NOW + 5);
  assert.match(ended?.text ?? "", /^failed at \S+: job_timeout: the job was not done 5 ms/);
  assert.is(ended?.index, undefined);
});

// --- graphs

const done = { finished_at: NOW, result: null };

/** A graph with these branches; the entries with these indexes have ended. */
function graph(
  functions: FunctionSpec[],
  live: (Partial<Branch> & Pick<Branch, "index">)[],
  ended: number[] = [],
): LiveJob {
  const job = newJob({ name: "test", functions });
  let list = job.functions;
  for (const index of ended)
    list = list.with(index, { ...newEntry(functions[index] as FunctionSpec), retry_count: 1, ...done });
  const branches = live.map((branch): Branch => ({ attempt: 1, wait: "none", since: NOW, ...branch }));
  return {
    ...job,
    functions: list,
    live: branches,
    ended_count: ended.length,
    version: 1,
    state: "running",
  } as LiveJob;
}

test("a sleep: until when", () => {
  const entry = firstEntry(graph([{ sleep_ms: MINUTE }], [{ index: 0, wait: "sleep", due_at: NOW + MINUTE }]));
  const until = iso(NOW + MINUTE);
  assert.equal(entry, {
    index: 0,
    kind: "sleep",
    name: null,
    reason: "sleep",
    text: `sleeps until ${until}`,
    since: iso(NOW),
    until,
  });
});

test("a signal: its name, and until when if it has an end", () => {
  const spec = [{ id: "ok", wait_for: "approval" }];
  const entry = firstEntry(graph(spec, [{ index: 0, wait: "signal", due_at: NOW + MINUTE }]));
  assert.equal(entry, {
    index: 0,
    id: "ok",
    kind: "wait",
    name: null,
    reason: "signal",
    text: `waits for signal approval until ${iso(NOW + MINUTE)}`,
    since: iso(NOW),
    until: iso(NOW + MINUTE),
    detail: { signal: "approval" },
  });
  assert.is(textOf(graph(spec, [{ index: 0, wait: "signal" }])), "waits for signal approval, for as long as it takes");
});

test("branches that run, are due, or wait for a worker or a backoff, each with its own reason", () => {
  const specs = ["a", "b", "c", "d"].map((name): FunctionSpec => ({ name, id: name, needs: [] }));
  const job = graph(specs, [
    { index: 0, attempt: 2, since: NOW - 5 },
    { index: 1 },
    { index: 2, wait: "worker", since: NOW - MINUTE },
    { index: 3, wait: "backoff", attempt: 2, due_at: NOW + MINUTE },
  ]);
  job.functions = job.functions.with(0, {
    ...newEntry(specs[0] as FunctionSpec),
    retry_count: 2,
    started_at: NOW - MINUTE,
  });
  const facts: Record<string, Facts> = { b: FULL, c: NOBODY };
  const { state, entries } = explain(job, (name) => facts[name], NOW);
  assert.is(state, "running");
  assert.equal(
    entries.map(({ id, reason, since }) => [id, reason, since]),
    [
      ["a", "running", iso(NOW - 5)],
      ["b", "workers_full", iso(NOW)],
      ["c", "no_worker", iso(NOW - MINUTE)],
      ["d", "backoff", iso(NOW)],
    ],
  );
  assert.equal(functionsToAsk(job, NOW), ["b", "c"]);
});

test("a branch whose backoff is over waits for a worker, since then", () => {
  const job = graph([RETRIED], [{ index: 0, attempt: 2, wait: "backoff", since: NOW - MINUTE, due_at: NOW }]);
  const entry = firstEntry(job, FULL);
  assert.equal([entry.reason, entry.since, entry.until], ["workers_full", iso(NOW), undefined]);
  assert.equal(functionsToAsk(job, NOW), ["x"]);
  assert.is(firstEntry(job, FULL, NOW - 1).reason, "backoff");
});

test("what runs in the place of an entry that has failed is named, and asked for", () => {
  const spec: FunctionSpec = { name: "x", on_error: { name: "alert", retry_options: { retry_limit: 3 } } };
  const job = graph([spec], [{ index: 0, wait: "worker" }]);
  job.functions = job.functions.with(0, { ...newEntry(spec), handling: true, caught: BOOM, failures: 1 });
  assert.equal(functionsToAsk(job, NOW), ["alert"]);
  assert.is(textOf(job, NOBODY), "no worker serves fn.alert (its on_error)");
  assert.is(firstEntry(job, NOBODY).name, "x");
  assert.is(firstEntry(job, NOBODY).detail?.of, 3);
});

test("an entry with needs names those that have not ended; one without, all before it in the list", () => {
  const specs: FunctionSpec[] = [
    { id: "charge", name: "charge" },
    { name: "other", needs: [] },
    { name: "send", needs: ["charge"] },
    { name: "last" },
  ];
  const begun = entriesOf(graph(specs, [{ index: 0 }, { index: 1 }]), IDLE);
  assert.equal(
    begun.slice(2).map(({ text, detail }) => [text, detail?.needs]),
    [
      ["needs charge", ["charge"]],
      ["needs charge, entry 1, entry 2", ["charge", 1, 2]],
    ],
  );
  const later = entriesOf(graph(specs, [{ index: 1 }, { index: 2 }], [0]), IDLE);
  assert.is(later[2]?.text, "needs entry 1, entry 2");
});

test("at most ten needs are named, and the others are counted", () => {
  const specs = Array.from({ length: 15 }, (_, index): FunctionSpec => ({ id: `e${index}`, name: "x", needs: [] }));
  specs.push({ name: "named", needs: specs.map(({ id }) => id ?? "") }, { name: "last" });
  const live = specs.slice(0, 15).map((_, index) => ({ index }));
  const [named, last] = entriesOf(graph(specs, live), IDLE).slice(15);
  assert.match(named?.text ?? "", /^needs e0, .*, e9 and 5 more$/);
  assert.equal([named?.detail?.needs?.length, named?.detail?.needs_omitted], [10, 5]);
  assert.match(last?.text ?? "", /^needs e0, .*, e9 and 6 more$/);
});

test("a graph of which nothing is stored yet: what begins at once is due, the rest needs it", () => {
  const functions = [{ name: "a", needs: [] }, { sleep_ms: 5, needs: [] }, { name: "c" }];
  const job = taken(untaken(createJob({ name: "test", functions }, ORIGIN, NOW)));
  assert.equal(
    entriesOf(job, IDLE).map(({ reason, text }) => [reason, text]),
    [
      ["starting", "an attempt of fn.a begins; its workers have room"],
      ["starting", "begins now"],
      ["needs", "needs entry 0, entry 1"],
    ],
  );
});

// --- limits and all states

test("a hundred entries are shown, first those that wait or run, and the others are counted", () => {
  const specs = Array.from(
    { length: 300 },
    (_, index): FunctionSpec => ({ name: "x", ...(index > 149 && { needs: [] }) }),
  );
  const live = [{ index: 0 }, ...Array.from({ length: 50 }, (_, index) => ({ index: 150 + index }))];
  // The last hundred have ended.
  const ended = Array.from({ length: 100 }, (_, index) => 200 + index);
  const { entries, omitted } = explain(graph(specs, live, ended), () => IDLE, NOW);
  assert.is(entries.length, MAX_EXPLAINED);
  assert.is(omitted, 100);
  assert.equal(
    entries.slice(0, 52).map(({ index }) => index),
    [0, ...live.slice(1).map(({ index }) => index), 1],
  );
});

test("at most twenty functions are asked for, each once", () => {
  const specs = Array.from({ length: 60 }, (_, index): FunctionSpec => ({ name: `fn-${index % 30}`, needs: [] }));
  const job = graph(
    specs,
    specs.map((_, index) => ({ index })),
  );
  const asked = functionsToAsk(job, NOW);
  assert.is(asked.length, MAX_ASKED);
  assert.is(new Set(asked).size, MAX_ASKED);
  const reasons = explain(job, (name) => (asked.includes(name) ? IDLE : undefined), NOW).entries.map(
    ({ reason }) => reason,
  );
  assert.is(reasons.filter((reason) => reason === "worker").length, 20);
});

const REASONS_OF: Record<BranchWait, ExplainReason[]> = {
  none: ["no_worker", "workers_full", "starting", "worker", "running"],
  worker: ["no_worker", "workers_full", "starting", "worker"],
  backoff: ["backoff", "no_worker", "workers_full", "starting", "worker"],
  sleep: ["sleep"],
  signal: ["signal"],
  items: ["items"],
  child: ["child"],
  stopping: ["stopping"],
};

const anyFacts = fc.constantFrom(undefined, IDLE, NOBODY, FULL);
const anySpec = fc.record({
  kind: fc.constantFrom("name", "sleep", "wait"),
  needs: fc.option(fc.array(fc.nat(60), { maxLength: 4 })),
});

const anyGraph = fc
  .tuple(fc.array(anySpec, { minLength: 1, maxLength: 150 }), fc.infiniteStream(fc.nat(1_000)), fc.nat(149))
  .map(([shapes, chances, steps]) => {
    const chance = (below: number) => (chances.next().value as number) % below;
    const specs = shapes.map(({ kind, needs }, index): FunctionSpec => {
      const what = { name: { name: `fn-${index % 7}` }, sleep: { sleep_ms: 5 }, wait: { wait_for: "go" } }[kind];
      const before = needs?.filter((need) => need < index).map((need) => `e${need}`);
      return { id: `e${index}`, ...what, ...(before && { needs: [...new Set(before)] }) };
    });
    const plan = planOf(specs);
    const ended = new Set<number>();
    const ready = new Set(firstOf(plan));
    let lowest = 0;
    for (let step = 0; step < steps && ended.size < specs.length - 1; step++) {
      const one = [...ready][chance(ready.size)] as number;
      ready.delete(one);
      ended.add(one);
      const before = lowest;
      while (ended.has(lowest)) lowest += 1;
      for (const next of readyAfter(plan, one, (index) => ended.has(index), before, lowest)) ready.add(next);
    }
    const live = [...ready]
      .sort((a, b) => a - b)
      .map((index) => {
        const kind = shapes[index]?.kind;
        const waits = kind === "name" ? BRANCH_WAITS.slice(0, 3) : [kind === "sleep" ? "sleep" : "signal"];
        const wait = waits[chance(waits.length)] as BranchWait;
        return {
          index,
          attempt: 1 + chance(3),
          wait,
          ...(wait !== "none" && wait !== "worker" && { due_at: NOW - 500 + chance(1_000) }),
        };
      });
    return graph(specs, live, [...ended]);
  });

const anyChain = fc
  .tuple(
    fc.integer({ min: 1, max: 150 }),
    fc.array(fc.constantFrom("started", "succeeded", "failed", "lost", "no_room", "resumed"), { maxLength: 40 }),
  )
  .map(([length, events]) => {
    const spec = { name: "x", retry_options: { retry_limit: 50, backoff: { type: "fixed" as const, delay_ms: 500 } } };
    let state = chain(...Array.from({ length }, () => spec));
    for (const type of events) {
      const address = attemptOf(state);
      const event = { type, ...address, result: 1, error: BOOM, retryable: true, random: 0 } as Parameters<
        typeof reduce
      >[1];
      const { state: next } = reduce(state, event, NOW);
      if (!isEnded(next)) state = next;
    }
    return state;
  });

test("each live job has an entry that waits for more than others, and each entry of the first hundred has one reason", () => {
  fc.assert(
    fc.property(fc.oneof(anyGraph, anyChain), anyFacts, fc.integer({ min: 0, max: 1_000 }), (job, facts, later) => {
      const now = NOW + later;
      const { entries, omitted = 0, ended } = explain(deepFreeze(job), () => facts, now);
      const open = [...job.functions].flatMap((fn, index) => (fn.finished_at === undefined ? index : []));
      assert.is(ended, undefined);
      assert.ok(
        entries.some(({ reason }) => reason !== "needs"),
        JSON.stringify(entries),
      );
      assert.is(new Set(entries.map(({ index }) => index)).size, entries.length, "an entry comes twice");
      assert.ok(
        entries.every(({ index }) => open.includes(index)),
        "one that has ended is named",
      );
      assert.is(entries.length, Math.min(MAX_EXPLAINED, open.length));
      assert.is(entries.length + omitted, open.length);
      for (const { index, reason, text, detail } of entries) {
        assert.ok(text.length > 0 && !text.includes("\n"));
        const branch = job.live?.find((one) => one.index === index);
        if (branch) assert.ok(REASONS_OF[branch.wait].includes(reason), `${branch.wait}: ${reason}`);
        else if (job.live) assert.is(reason, "needs");
        // What an entry needs has not ended.
        for (const need of detail?.needs ?? []) {
          assert.ok(open.includes(typeof need === "number" ? need : Number(need.slice(1))), `it needs ${need}`);
        }
        if (reason === "needs") assert.ok((detail?.needs?.length ?? 0) > 0);
      }
    }),
    { numRuns: 300 },
  );
});

test("as a table it fits the terminal, says what is cut and what is left out, and elsewhere it is whole", () => {
  const long = chain(...Array.from({ length: 150 }, () => ({ name: "charge-the-customer-of-the-order" })));
  const explanation = explain(long, () => FULL, NOW);
  for (const width of [50, 80, 120]) {
    const text = describeExplanation(explanation, width);
    for (const line of text.split("\n").slice(0, -1)) assert.ok(textWidth(line) <= width, `${width}: ${line}`);
    assert.match(text, "and 50 more, which have not ended");
  }
  assert.match(describeExplanation(explanation, 50), "cut at …; whole: async explain job-1 --json");
  const whole = describeExplanation(explanation, Number.POSITIVE_INFINITY);
  assert.match(whole, `all full, at least 120 wait for it  ${iso(NOW)}`);
  assert.not.match(whole, "…");
});

test("the cost grows with the entries and what they need, not with their square", () => {
  const ids = (count: number) => Array.from({ length: count }, (_, index) => `e${index}`);
  const submission = (count: number): Submission => {
    const functions = ids(count).map((id): FunctionSpec => ({ id, name: "x", needs: [] }));
    for (let index = 1; index < count; index++)
      functions[index] = { id: `e${index}`, name: "x", needs: [`e${index - 1}`] };
    return { name: "test", functions };
  };
  // How often an entry is looked at, which no clock of a busy machine changes.
  const looks = (count: number) => {
    const job = taken(newJob(submission(count)));
    let seen = 0;
    const { functions } = job;
    const counting = new Proxy(functions, {
      get(target, key) {
        if (key === Symbol.iterator) seen += target.length;
        if (key === "at") seen += 1;
        const value = Reflect.get(target, key) as unknown;
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    explain({ ...job, functions: counting }, () => IDLE, NOW);
    return seen;
  };
  const [small, large] = [looks(500), looks(1_000)];
  assert.ok(large <= 2.1 * small && large > 1_000, `${small} looks at 500 entries, ${large} at 1,000`);
});

test.run();
