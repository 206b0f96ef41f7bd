/** The invariants in many random histories, and that the model is worth believing. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startProcess } from "../support/process.ts";
import { runHistory } from "./history.ts";
import { Random } from "./random.ts";
import { matcher } from "./subjects.ts";
import { NOBODY, SimProcess, World } from "./world.ts";

const test = suite("simulation");
const SEEDS = 5_000;

test("random numbers depend on the seed alone, and are spread evenly", () => {
  const draw = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 10_000 }, () => random.float());
  };
  assert.equal(draw(1), draw(1));
  assert.not.equal(draw(1), draw(2));
  const mean = draw(3).reduce((sum, one) => sum + one, 0) / 10_000;
  assert.ok(mean > 0.48 && mean < 0.52);
});

test("patterns fit subjects as they do on a server", () => {
  const fits = (pattern: string, subject: string) => matcher(pattern)(subject);
  assert.ok(fits("a.b", "a.b"));
  assert.not.ok(fits("a.b", "a.b.c"));
  assert.ok(fits("a.*", "a.b"));
  assert.not.ok(fits("a.*", "a.b.c"));
  assert.not.ok(fits("a.*", "a."));
  assert.ok(fits("a.>", "a.b.c"));
  assert.not.ok(fits("a.>", "a"));
  assert.ok(fits("*.b.*", "a.b.c"));
  assert.ok(fits("job.wait.x.*", "job.wait.x.1"));
  assert.not.ok(fits("job.wait.x.*", "job.wait.x.y.1"));
});

test("time, timers and processes: order, pauses, kills and skew (WORLD-1, WORLD-2, WORLD-3)", async () => {
  const world = new World(1);
  const restore = world.install();
  const seen: string[] = [];
  const [a, b] = [new SimProcess("a"), new SimProcess("b")];
  b.skewMs = 5_000;
  try {
    const says = (what: string) => seen.push(`${what} at ${performance.now()}`);
    world.as(a, () => setTimeout(() => says("a 10"), 10));
    world.as(a, () => setTimeout(() => says("a 30"), 30));
    world.as(b, () => setTimeout(() => Promise.resolve().then(() => says("b 10, its promise")), 10));
    world.as(b, () => setInterval(() => says("b every 40"), 40));
    world.after(20, () => world.pause(a), NOBODY);
    world.after(60, () => world.resume(a), NOBODY);
    world.after(100, () => world.kill(b), NOBODY);
    const ahead = world.as(b, () => Date.now()) - world.as(a, () => Date.now());
    assert.is(ahead, 5_000);
    await world.run(200, () => false);
  } finally {
    restore();
  }
  assert.equal(seen, ["a 10 at 10", "b 10, its promise at 10", "b every 40 at 40", "a 30 at 60", "b every 40 at 80"]);
});

test("the same seed has the same history, to the last line", async () => {
  for (const seed of [1, 2, 3]) {
    const [one, two] = [await runHistory(seed, { fullTrace: true }), await runHistory(seed, { fullTrace: true })];
    assert.ok(one.trace.length > 20);
    // Supervisors sign with random names, and clients make up ids.
    const anonymous = (trace: string[]) =>
      trace.map((line) => line.replace(/ by [0-9a-f]{12}/, "").replace(/auto-[-\w]{16}/g, "auto"));
    assert.equal(anonymous(one.trace), anonymous(two.trace));
    assert.is(one.events, two.events);
  }
});

test(`every invariant holds in ${SEEDS.toLocaleString("en")} histories with kills, pauses, cuts, losses, skew, full storage and lost permissions`, async () => {
  const run = await startProcess("test/simulation/main.ts", ["--seeds", String(SEEDS)]);
  try {
    const code = await run.exit();
    console.log(run.output());
    assert.is(code, 0, run.output());
    assert.match(run.output(), /definitions [1-9]/, "long jobs have parked");
    for (const kind of [
      "kill",
      "pause",
      "suspend",
      "cut",
      "server",
      "leader",
      "drop",
      "repeat",
      "reorder",
      "delay",
      "lostAck",
      "refuse",
      "redeliver",
      "refuseSchedule",
      "full",
      "account",
      "permission",
      "refused as full",
      "refused by the account",
      "denied publish",
      "denied subscription",
      "told storage_full",
      "told jobs_full",
      "told permission_denied",
    ]) {
      assert.match(run.output(), new RegExp(`${kind} [1-9]`), "each kind of fault struck");
    }
  } finally {
    await run.kill();
  }
});

test.run();
