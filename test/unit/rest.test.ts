/** How a job waits for what comes next: for every phase, token and time, also for those that no history leads to. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createJob, reduce } from "../../src/job/machine.ts";
import { dueSince, onNextToken, rest, restParked, toBeParked, wakeAt } from "../../src/job/rest.ts";
import { isEnded, type LiveJob, type LivePhase } from "../../src/job/state.ts";
import {
  attemptOf,
  deepFreeze,
  ENDED,
  executes,
  failedWith,
  how,
  kindOf,
  live,
  NOW,
  newJob,
  ORIGIN,
  place,
  submissionOf,
  timer,
} from "./support.ts";

const time = fc.integer({ min: NOW - 5_000, max: NOW + 5_000 });

const phase: fc.Arbitrary<LivePhase> = fc.oneof(
  fc.constantFrom<LivePhase>(
    { state: "scheduled" },
    { state: "pending" },
    { state: "running" },
    { state: "waiting", waiting_for: "worker" },
  ),
  time.map((due_at): LivePhase => ({ state: "waiting", waiting_for: "backoff", due_at })),
);

/** Any live job, whether the machine can make it or not. */
const liveJob: fc.Arbitrary<LiveJob> = fc
  .record({
    phase,
    current_function: fc.nat(2),
    attempt: fc.integer({ min: 1, max: 5 }),
    token: fc.nat(4),
    scheduled_at: time,
    deadline_at: fc.option(time, { nil: undefined }),
  })
  .map(({ phase, deadline_at, ...fields }): LiveJob => {
    const deadline = deadline_at === undefined ? {} : { deadline_at, timeout_ms: 1_000 };
    return deepFreeze({ ...newJob(submissionOf("a", "b", "c")), ...fields, ...deadline, ...phase });
  });

const held = fc.nat(6);
const now = fc.integer({ min: NOW - 6_000, max: NOW + 6_000 });

/** Each with a live job, a token and a time. Tells how often each answer was met. */
function forEachRest(check: (job: LiveJob, held: number, now: number) => string | undefined): Record<string, number> {
  const met: Record<string, number> = {};
  const counted = fc.property(liveJob, held, now, (job, held, now) => {
    const answer = check(job, held, now);
    if (answer !== undefined) met[answer] = (met[answer] ?? 0) + 1;
  });
  fc.assert(counted, { numRuns: 1_000 });
  return met;
}

/** When nothing is to be done before it, by the words of the state. */
function dueAt(job: LiveJob): number {
  if (job.state === "scheduled") return job.scheduled_at;
  return job.state === "waiting" && job.waiting_for === "backoff" ? job.due_at : 0;
}

test("every live job has an answer, whatever token is held (MACHINE-6)", () => {
  const met = forEachRest((job, held, now) => {
    const answer = rest(job, held, now);
    assert.ok(["attempt", "memory", "parked"].includes(answer.type), answer.type);
    return kindOf(answer);
  });
  for (const kind of ["attempt", "memory", "timer", "place"]) assert.ok((met[kind] ?? 0) > 20, `${kind} is met`);
});

test("who holds an older token than the state's has to let it rest outside of memory", () => {
  const met = forEachRest((job, held, now) => {
    if (held >= job.token) return undefined;
    const answer = rest(job, held, now);
    assert.is(answer.type, "parked");
    assert.equal(answer, restParked(job), "how, says the state alone");
    return kindOf(answer);
  });
  assert.ok((met.timer ?? 0) > 20 && (met.place ?? 0) > 20);
});

test("who holds the state's token, or a later one, has the next attempt executed, once it is due", () => {
  forEachRest((job, held, now) => {
    if (held < job.token) return undefined;
    const answer = rest(job, held, now);
    if (dueAt(job) <= now) assert.equal(answer, executes(job.current_function, job.attempt));
    else assert.equal(answer, { type: "memory", until: Math.min(dueAt(job), job.deadline_at ?? dueAt(job)) });
    return answer.type;
  });
});

test("a job that nobody holds waits for a worker in the backlog of its function, else on a timer", () => {
  forEachRest((job) => {
    const parked = restParked(job);
    if (job.state === "waiting" && job.waiting_for === "worker") {
      const functionName = ["a", "b", "c"][job.current_function];
      assert.equal(parked, place(functionName ?? "", job.deadline_at));
    } else {
      assert.equal(parked, timer(wakeAt(job)));
      assert.is(wakeAt(job), Math.min(dueAt(job), job.deadline_at ?? dueAt(job)));
    }
    return parked.type;
  });
});

test("no wait reaches beyond the deadline of the job", () => {
  forEachRest((job, held, now) => {
    const answer = rest(job, held, now);
    if (answer.type === "attempt" || job.deadline_at === undefined) return undefined;
    assert.ok(answer.until !== undefined && answer.until <= job.deadline_at);
    return answer.type;
  });
});

test("a wait in memory lasts until its end and no longer: then the attempt is due, or the job expires (MACHINE-6)", () => {
  const met = { attempt: 0, expired: 0 };
  forEachRest((job, held, now) => {
    const answer = rest(job, held, now);
    if (answer.type !== "memory") return undefined;
    const { until } = answer;
    assert.equal(rest(job, held, until - 1), answer, "it has not changed just before");
    const due = reduce(job, { type: "due" }, until);
    assert.equal(due.events, []);
    if (isEnded(due.state)) {
      met.expired += 1;
      assert.is(due.state.state === "failed" && due.state.error.code, "job_timeout");
      assert.is(until, job.deadline_at);
    } else {
      met.attempt += 1;
      assert.is(due.state, job);
      assert.equal(rest(job, held, until), executes(job.current_function, job.attempt));
    }
    return answer.type;
  });
  assert.ok(met.attempt > 20 && met.expired > 20);
});

test("who gets the wake of a job that rests outside of memory has an attempt to execute, or the job expires (MACHINE-6)", () => {
  forEachRest((job, held, now) => {
    const answer = rest(job, held, now);
    if (answer.type !== "parked") return undefined;
    // A worker may have room at any time; a timer comes when it is due, or later.
    const wokenAt = answer.functionNames.length > 0 ? now : Math.max(now, answer.until ?? Number.NaN);
    const woken = reduce(job, { type: "resumed" }, wokenAt);
    const expires = job.deadline_at !== undefined && job.deadline_at <= wokenAt;
    const next = how(woken, wokenAt, job.token);
    assert.equal(next, expires ? ENDED : executes(job.current_function, woken.state.attempt));
    return answer.type;
  });
});

test("a job is parked only if it would rest in memory for longer than parkAfterMs, by one more token (MACHINE-5)", () => {
  let met = 0;
  fc.assert(
    fc.property(liveJob, held, now, fc.nat(5_000), (job, held, now, parkAfterMs) => {
      const answer = rest(job, held, now);
      const parked = toBeParked(job, held, now, parkAfterMs);
      if (answer.type !== "memory" || answer.until - now <= parkAfterMs) {
        assert.is(parked, job);
        return;
      }
      met += 1;
      assert.equal(parked, { ...job, token: job.token + 1 });
    }),
    { numRuns: 1_000 },
  );
  assert.ok(met > 20);
});

test("a job that was parked is parked for who holds the token before, and is not parked again", () => {
  let met = 0;
  forEachRest((job, _, now) => {
    const parked = live(toBeParked(job, job.token, now, 0));
    if (parked === job) return undefined;
    met += 1;
    const until = wakeAt(job);
    assert.equal(rest(parked, job.token, now), timer(until));
    assert.equal(rest(parked, parked.token, now), { type: "memory", until }, "to who gets the wake too early");
    assert.is(toBeParked(parked, job.token, now, 0), parked);
    return undefined;
  });
  assert.ok(met > 20);
});

test("the limit of a wait in memory is exact", () => {
  const job = waiting(1_000);
  assert.is(toBeParked(job, 0, NOW, 1_000), job);
  assert.equal(toBeParked(job, 0, NOW, 999), { ...job, token: 1 });
});

test("an ended job rests nowhere", () => {
  const job = newJob(submissionOf("a"));
  const cancelled = deepFreeze(reduce(job, { type: "cancelled" }, NOW).state);
  assert.is(toBeParked(cancelled, 0, NOW, 0), cancelled);
});

test("the next token is one more, and nothing else of the job changes", () => {
  const job = deepFreeze(waiting(1_000));
  assert.equal(onNextToken(job), { ...job, token: 1 });
});

// --- examples

/** A job whose first attempt has failed, and whose second is due after that long. */
function waiting(delayMs: number): LiveJob {
  const job = newJob({ name: "test", functions: [{ name: "a", retry_options: { retry_limit: 3 } }] });
  return live(reduce(job, failedWith(job, { retryAfterMs: delayMs }), NOW).state);
}

test("a short wait is spent in memory and changes nothing", () => {
  const job = waiting(5_000);
  assert.is(toBeParked(job, 0, NOW, 10_000), job);
  assert.equal(rest(job, 0, NOW), { type: "memory", until: NOW + 5_000 });
});

test("a long wait is spent on the next token, which is counted in the state that is committed (MACHINE-5)", () => {
  const job = deepFreeze(waiting(3_600_000));
  const parked = live(toBeParked(job, 0, NOW, 10_000));
  assert.equal(parked, { ...job, token: 1 });
  assert.equal(rest(parked, 0, NOW), timer(NOW + 3_600_000));
  assert.equal(rest(parked, 1, NOW + 3_600_000), executes(0, 2), "to who gets the wake");
  assert.is(toBeParked(parked, 1, NOW, 10_000).token, 2, "who gets it far too early has to park it again");
});

test("a job that is due is never parked", () => {
  const { state } = createJob(submissionOf("a"), ORIGIN, NOW);
  assert.is(toBeParked(state, 0, NOW, 0), state);
});

test("a job without room has its next token already, and is not parked once more", () => {
  const job = newJob(submissionOf("a"));
  const { state } = reduce(job, { type: "no_room", ...attemptOf(job) }, NOW);
  assert.is(toBeParked(state, job.token, NOW, 0), state);
});

test("a state that is none of ours is refused loudly", () => {
  const nonsense = { ...newJob(submissionOf("a")), state: "nonsense" } as unknown as LiveJob;
  assert.throws(() => rest(nonsense, 0, NOW), /unexpected value/);
});

test("a job is due since its start, the end of the function before, or a retry by hand; of a later attempt since its backoff", () => {
  const job = newJob(submissionOf("a", "b"));
  assert.is(dueSince(job, 0), job.scheduled_at);
  assert.is(dueSince({ ...job, retried_at: NOW + 5_000 }, 0), NOW + 5_000);
  const second = reduce(job, { type: "succeeded", ...attemptOf(job), result: 1 }, NOW + 7_000).state;
  assert.is(isEnded(second) ? 0 : dueSince(second, 1), NOW + 7_000);
  assert.is(dueSince({ ...job, attempt: 2 }, 0), undefined);
  assert.is(
    dueSince({ ...job, attempt: 2, state: "waiting", waiting_for: "backoff", due_at: NOW + 9_000 }, 0),
    NOW + 9_000,
  );
});

test.run();
