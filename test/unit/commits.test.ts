/** What becomes of a commit whose outcome is not plain, with a store that answers as it is told. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CommitResult, Commits, type CommitsContext, type CommitsOwner } from "../../src/actors/commits.ts";
import type { CommitOutcome, StoredJob } from "../../src/bus/store/job-store.ts";
import { AsyncError } from "../../src/job/errors.ts";
import { reduce } from "../../src/job/machine.ts";
import type { JobState } from "../../src/job/state.ts";
import { attemptOf, BOOM, failedWith, NOW, newJob, succeededWith } from "./support.ts";

const JOB = newJob({ name: "test", data: "large", functions: [{ name: "a", args: "large" }], timeout_ms: 5_000 });

interface Harness {
  commits: Commits;
  /** What was to be stored, in order. */
  written: JobState[];
  /** Commits and waits for the result. */
  commit(state: JobState): Promise<CommitResult>;
}

/** Of each state. */
const BYTES = 1_500;

function harness(
  outcome: (state: JobState, count: number) => CommitOutcome,
  stored?: StoredJob,
  maxPayload = 1_000_000,
): Harness {
  const written: JobState[] = [];
  const put = (state: JobState, _revision: number, done: (outcome: CommitOutcome) => void) => {
    written.push(state);
    if (written.length > 20) throw new Error("it goes on for ever");
    // As the connection does: what it cannot send is refused before it returns.
    const what = outcome(state, written.length);
    if (what.type === "refused") done(what);
    else queueMicrotask(() => done(what));
    return BYTES;
  };
  const store = {
    put,
    commit: (state: JobState, revision: number) => new Promise((resolve) => put(state, revision, resolve)),
    get: async () => stored,
  };
  const bus = { whenConnected: async () => true, maxPayload };
  const context = { bus, store, writer: "w" } as unknown as CommitsContext;
  let fault: ((error: unknown) => void) | undefined;
  const owner: CommitsOwner = {
    isGone: false,
    onGrown: () => {},
    onTrouble: () => {},
    onFault: (error) => fault?.(error),
  };
  const commits = new Commits(context, owner, JOB, 7, undefined, 0);
  const commit = (state: JobState) =>
    new Promise<CommitResult>((resolve, reject) => {
      fault = reject;
      commits.commit(state, resolve);
    });
  return { commits, written, commit };
}

const refused = { type: "refused", cause: new AsyncError("payload_too_large", "too large") } as const;
const isLarge = (state: JobState) => state.data === "large";

test("an end that does not fit is stored without its payloads, whatever it failed for (COMMIT-3)", async () => {
  const expired = reduce(JOB, { type: "expired" }, NOW + 6_000).state;
  const failed = reduce(JOB, failedWith(JOB, { retryable: false }), NOW).state;
  const cancelled = reduce(JOB, { type: "cancelled" }, NOW).state;
  for (const state of [expired, failed, cancelled]) {
    const { commits, written, commit } = harness((one) => (isLarge(one) ? refused : { type: "stored", revision: 8 }));
    assert.is(await commit({ ...state }), "stored");
    assert.equal(written.map(isLarge), [true, false]);
    assert.is(commits.state.state, state.state);
    assert.is(commits.state.data, null);
  }
});

test("a result that does not fit is refused, and so is what is live (COMMIT-3)", async () => {
  for (const state of [reduce(JOB, succeededWith(JOB, 1), NOW).state, reduce(JOB, { type: "resumed" }, NOW).state]) {
    const { commits, commit } = harness(() => refused);
    assert.equal(await commit(state), { type: "refused", why: "too large" });
    assert.is(commits.state, JOB, "nothing is stored");
  }
});

test("a refusal says how many bytes are too many, where that is known", async () => {
  const { commit } = harness(() => refused, undefined, 1_000);
  const next = reduce(JOB, succeededWith(JOB, 1), NOW).state;
  assert.equal(await commit(next), { type: "refused", why: "too large", overBytes: 500 });
});

test("a state that does not fit without its payloads is a fault, not a loop", async () => {
  const { commit } = harness(() => refused);
  const failure = await commit(reduce(JOB, { type: "cancelled" }, NOW).state).then(
    () => undefined,
    (error) => error,
  );
  assert.match(failure?.message ?? "", "without its payloads");
});

test("its own write whose answer was lost is recognised by writer and version (COMMIT-2)", async () => {
  const next = reduce(JOB, { type: "resumed" }, NOW).state;
  const mine = { revision: 9, state: { ...next, version: JOB.version + 1, writer: "w" } } as StoredJob;
  const unknown = { type: "unknown", cause: new AsyncError("bus_timeout", "no answer") } as const;
  assert.is(await harness(() => unknown, mine).commit(next), "stored");
  const other = { revision: 9, state: { ...next, version: JOB.version + 1, writer: "other" } } as StoredJob;
  assert.is(await harness(() => ({ type: "conflict" }), other).commit({ ...next }), "superseded");
  const cancelled = reduce(JOB, { type: "cancelled" }, NOW).state;
  const ended = { revision: 9, state: { ...cancelled, writer: "other" } } as StoredJob;
  const { commits, commit } = harness(() => ({ type: "conflict" }), ended);
  assert.is(await commit({ ...next }), "ended");
  assert.is(commits.state.state, "cancelled");
});

test("where there is no room, an end waits for it (COMMIT-4)", async () => {
  const full = { type: "full", cause: new AsyncError("storage_full", "full") } as const;
  const failed = reduce(
    JOB,
    { type: "failed", ...attemptOf(JOB), error: BOOM, retryable: false, random: 0 },
    NOW,
  ).state;
  const { written, commit } = harness((_, count) => (count < 3 ? full : { type: "stored", revision: 8 }));
  assert.is(await commit(failed), "stored");
  assert.is(written.length, 3);
});

test("a job that has ended is not written again, and a token does not shrink (COMMIT-5)", async () => {
  const { commits, commit } = harness(() => ({ type: "stored", revision: 8 }));
  const never = () => {};
  assert.throws(() => commits.commit(JOB, never), /cannot go/, "the same object");
  assert.throws(() => commits.commit({ ...JOB, token: -1 }, never), /cannot go/);
  assert.is(await commit(reduce(JOB, { type: "cancelled" }, NOW).state), "stored");
  assert.throws(() => commits.commit({ ...JOB }, never), /cannot go from cancelled/);
});

test.run();
