/** Large results on their way into the store, with a store and commits that answer as they are told. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { CommitResult } from "../../src/actors/commits.ts";
import { StoredResults } from "../../src/actors/stored-results.ts";
import type { JobStore } from "../../src/bus/store/job-store.ts";
import { ownerOf, packResult, readResult, resultKey, storeResult } from "../../src/bus/store/results.ts";
import { JetStreamError } from "../../src/bus/wire/jetstream.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { AsyncError } from "../../src/job/errors.ts";
import { LostValue } from "../../src/job/expression-error.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { functionAt, type Graph, type JobState } from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { NOW, ORIGIN } from "./support.ts";

type Next = JobState & Graph;
const LARGE = "x".repeat(50_000);
const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });
const succeeded = (index: number, result: unknown, bytes?: number): Event => {
  return { type: "succeeded", index, attempt: 1, result, ...(bytes !== undefined && { bytes }) };
};

function open(...functions: FunctionSpec[]): Next {
  return createJob(parseSubmission({ name: "test", functions }, NOW), ORIGIN, NOW).state as Next;
}

/** A store of parts, with the sequences of the server. */
class Parts {
  readonly parts = new Map<string, { data: Uint8Array; sequence: number }>();
  /** Called before each write. */
  before: (key: string) => void = () => {};
  #last = 0;

  set(key: string, data: Uint8Array): number {
    this.#last += 1;
    this.parts.set(key, { data, sequence: this.#last });
    return this.#last;
  }

  async part(key: string) {
    return this.parts.get(key);
  }

  async putPart(key: string, data: Uint8Array, after: number): Promise<number> {
    this.before(key);
    if ((this.parts.get(key)?.sequence ?? 0) !== after)
      throw new JetStreamError("jetstream_error", 10071, "wrong last sequence");
    return this.set(key, data);
  }

  valueOf(index: number): unknown {
    return readResult(this.parts.get(resultKey("job-1", index))?.data ?? Buffer.of())?.value;
  }

  get asStore(): JobStore {
    return this as unknown as JobStore;
  }
}

function harness(job: Next, outcome: (next: Next) => CommitResult = () => "stored") {
  const parts = new Parts();
  const plan = planOf(job.functions);
  const committed: Next[] = [];
  const held: number[] = [];
  const results = new StoredResults(
    { store: parts.asStore, bus: { maxPayload: 1_000_000 } },
    {
      host: {
        isGone: false,
        insist: async (_what, call) => {
          await call();
          return true;
        },
        onFault: (error) => assert.unreachable(String(error)),
      },
      commits: {
        isOurs: async () => true,
        compare: async () => undefined,
        commit: (next, done) => {
          if (committed.length > 20) throw new Error("it goes on for ever");
          committed.push(next as Next);
          done(outcome(next as Next));
        },
      },
      footprint: { holdBesides: (bytes) => held.push(bytes) },
    },
    plan,
    job,
  );
  const commit = (next: Next, mail: Event[]) =>
    new Promise<CommitResult>((resolve) => results.commit(next, mail, resolve));
  return { parts, plan, results, committed, held, commit };
}

test("a large result is stored before the state that names it, and stays at hand for what comes next", async () => {
  const job = open(f("a"), f("b"));
  const mail = [succeeded(0, LARGE, 50_002)];
  const next = reduce(job, mail[0] as Event, NOW).state as Next;
  const { parts, plan, committed, held, commit } = harness(job);
  let isStoredFirst = false;
  parts.before = () => {
    isStoredFirst = committed.length === 0;
  };
  assert.is(await commit(next, mail), "stored");
  assert.ok(isStoredFirst);
  assert.is(parts.valueOf(0), LARGE);
  const fn = functionAt(committed[0] as Next, 0);
  assert.is(fn.result, null);
  assert.is(fn.apart, parts.parts.get("job-1.result.0")?.data.length);
  assert.is(plan.loaded.get(0), LARGE);
  assert.is(held.at(-1), 2 * (fn.apart ?? 0));
});

test("a small one is not, nor one with which the job ends, nor that of an attempt that has failed what it expects", async () => {
  const job = open(f("a", { expect: "size(result) < 10" }), f("b"));
  const small = harness(job);
  assert.is(await small.commit(reduce(job, succeeded(0, "x"), NOW).state as Next, [succeeded(0, "x")]), "stored");
  const large = succeeded(0, LARGE, 50_002);
  await small.commit(reduce(job, large, NOW).state as Next, [large]);
  const last = open(f("only", { needs: [] }));
  const ending = harness(last);
  await ending.commit(reduce(last, large, NOW).state as Next, [large]);
  assert.is(small.parts.parts.size + ending.parts.parts.size, 0);
  assert.is(functionAt(ending.committed[0] as Next, 0).result, LARGE);
});

test("a state that does not fit puts its largest results besides, older ones too, before anything fails", async () => {
  let job = open(f("a"), f("b"), f("c"));
  job = reduce(job, succeeded(0, "x".repeat(3_000)), NOW).state as Next;
  const mail = [succeeded(1, "y".repeat(2_000))];
  const next = reduce(job, mail[0] as Event, NOW).state as Next;
  const fits = (state: Next) =>
    functionAt(state, 1).apart === undefined ? { type: "refused" as const, why: "no" } : "stored";
  const { parts, committed, commit } = harness(job, fits);
  assert.is(await commit(next, mail), "stored");
  assert.equal(
    committed.map((state) => state.functions.map(({ apart }) => apart !== undefined)),
    [
      [false, false, false],
      [true, false, false],
      [true, true, false],
    ],
  );
  assert.is(parts.valueOf(0), "x".repeat(3_000));
});

test("what cannot be made smaller is refused, and a result that fits into no message fails alone", async () => {
  const job = open(f("a"), f("b"));
  const mail = [succeeded(0, "x".repeat(1_000))];
  const next = reduce(job, mail[0] as Event, NOW).state as Next;
  const never = harness(job, () => ({ type: "refused", why: "never" }));
  assert.equal(await never.commit(next, mail), { type: "refused", why: "never" });
  assert.is(never.committed.length, 2);
  const { parts, commit, committed } = harness(job);
  parts.before = () => {
    throw new AsyncError("payload_too_large", "too large");
  };
  const large = [succeeded(0, LARGE, 50_002)];
  const result = await commit(reduce(job, large[0] as Event, NOW).state as Next, large);
  assert.is(typeof result === "object" && result.type, "refused");
  assert.is(committed.length, 0);
});

test("what is left of a crash, or of an owner before, is replaced; not by who has lost the job (RESULTS-2)", async () => {
  const job = reduce(open(f("a"), f("b")), succeeded(0, "mine"), NOW).state as Next;
  const owner = ownerOf(job, functionAt(job, 0));
  const key = resultKey("job-1", 0);
  const parts = new Parts();
  parts.set(key, packResult(owner, "of an execution that was not committed"));
  assert.is((await storeResult(parts.asStore, job, 0, async () => true)).type, "stored");
  assert.is(parts.valueOf(0), "mine");

  parts.set(key, packResult(owner, "theirs"));
  assert.is((await storeResult(parts.asStore, job, 0, async () => false)).type, "others");
  assert.is(parts.valueOf(0), "theirs");

  // The next owner stores its own between the look at the job and the write.
  const overtaken = async () => {
    const isFirst = parts.valueOf(0) === "theirs";
    parts.set(key, packResult(owner, "newer"));
    return isFirst;
  };
  assert.is((await storeResult(parts.asStore, job, 0, overtaken)).type, "others");
  assert.is(parts.valueOf(0), "newer");
});

test("what is due has its results read before; they are forgotten when nothing under way is handed them (STORED-2)", async () => {
  const start = open(f("a"), f("b", { needs: ["a"] }), f("c", { needs: ["b"] }));
  const first = harness(start);
  const mail = [succeeded(0, LARGE, 50_002)];
  await first.commit(reduce(start, mail[0] as Event, NOW).state as Next, mail);
  const job = first.committed[0] as Next;
  const { parts, plan, results, held } = harness(job);
  const [stored] = [...first.parts.parts.values()];
  parts.set(resultKey("job-1", 0), stored?.data ?? Buffer.of());
  assert.equal(results.missing(job, job.live), [0]);
  await results.load(job, [0]);
  assert.is(plan.loaded.get(0), LARGE);
  assert.equal(results.missing(job, job.live), []);
  results.forget(job);
  assert.is(plan.loaded.size, 1, "the attempt of b is handed it");
  results.forget(reduce(job, succeeded(1, null), NOW, plan).state as Next);
  assert.is(plan.loaded.size, 0, "that of c is not");
  assert.is(held.at(-1), 0);
  parts.parts.clear();
  await results.load(job, [0]);
  assert.instance(plan.loaded.get(0), LostValue);
});

test("results of items that would take all memory together are not read: what needs them fails, and is told what to do", async () => {
  const job = open(f("a", { needs: [], for_each: 2 }), f("b", { args: { $: "results.a" } }));
  const items = { run: 1, list: 1, count: 1_000_000, next: 7_813, open: [], done: 1_000_000, failed: 0 };
  const done = { ...functionAt(job, 0), items, finished_at: NOW, result: null, rank: 1, apart: 2_000_000_000 };
  const { plan, results, held } = harness(job); // its store has no parts of items
  await results.load({ ...job, functions: job.functions.with(0, done) }, [0]);
  const lost = plan.loaded.get(0);
  assert.instance(lost, LostValue);
  assert.is((lost as LostValue).code, "payload_too_large");
  assert.match((lost as LostValue).message, /has 2000000000 bytes.*in pages/);
  assert.is(held.at(-1), 0);
});

test("results that are too large together for an invocation fail it unread, with what to do", () => {
  const job = open(f("a", { needs: [] }), f("b", { needs: ["a"] }), f("c", { needs: ["a"] }));
  const done = reduce(job, succeeded(0, null), NOW).state as Next;
  const next = { ...done, functions: done.functions.with(0, { ...functionAt(done, 0), apart: 5_000_000 }) };
  const { results } = harness(next);
  const unfit = results.unfit(next, { index: 1, attempt: 1 });
  assert.ok(unfit?.type === "failed" && !unfit.retryable);
  if (unfit?.type !== "failed") return;
  assert.is(unfit.error.code, "payload_too_large");
  for (const word of ["5000000", "needs", "args", "slice"]) assert.match(unfit.error.message, word);
  assert.equal(results.missing(next, next.live), []);
});

test.run();
