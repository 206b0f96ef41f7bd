/** Medians, ratios and percentiles of the load tests. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Latencies, medianPercentiles } from "../../bench/latencies.ts";
import { type Measurement, median } from "../../bench/measure.ts";
import { medianOf, ratioOf } from "../../bench/rounds.ts";

const measured = (jobsPerSecond: number): Measurement => ({
  jobsPerSecond,
  submissionsPerSecond: 1,
  cpuUsPerJob: {},
  peakMb: {},
  storedBytesPerJob: undefined,
});

function near(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= expected / 500, `${actual} is not ${expected}`);
}

test("the median is the middle one, or the mean of the middle two", () => {
  assert.is(median([5, 1, 9]), 5);
  assert.is(median([4, 1, 9, 2]), 3);
  assert.is(median([7]), 7);
  assert.ok(Number.isNaN(median([])));
});

test("a ratio is the median of the ratios of each round, not the ratio of the medians", () => {
  const mine = [100, 50, 300].map(measured);
  const other = [200, 50, 200].map(measured);
  assert.is(ratioOf(mine, other), 1);
  assert.is(
    medianOf(mine, (one) => one.jobsPerSecond),
    100,
  );
});

test("what was not measured is not a number", () => {
  assert.ok(Number.isNaN(medianOf([measured(1)], (one) => one.storedBytesPerJob)));
  assert.ok(Number.isNaN(medianOf([], (one) => one.jobsPerSecond)));
});

test("percentiles are right to three digits", () => {
  const latencies = new Latencies();
  for (let ms = 1; ms <= 10_000; ms++) latencies.record(ms);
  const { count, p50Ms, p99Ms, p999Ms, maxMs } = latencies.percentiles();
  assert.is(count, 10_000);
  near(p50Ms, 5_000);
  near(p99Ms, 9_900);
  near(p999Ms, 9_990);
  near(maxMs, 10_000);
  assert.ok(p999Ms <= maxMs);
});

test("durations are kept in µs; what is shorter counts as one, what is longer than an hour as that", () => {
  const short = new Latencies();
  short.record(0.0004);
  assert.is(short.percentiles().maxMs, 0.001);
  short.record(0.25);
  near(short.percentiles().maxMs, 0.25);
  const long = new Latencies();
  long.record(1e9);
  near(long.percentiles().maxMs, 3_600_000);
});

test("of rounds the medians are told, and the longest of all", () => {
  const rounds = [[1, 1, 90], [2, 2, 2, 2], [3]].map((all) => {
    const round = new Latencies();
    for (const ms of all) round.record(ms);
    return round;
  });
  const { count, p50Ms, p99Ms, maxMs } = medianPercentiles(rounds);
  assert.is(count, 8);
  near(p50Ms, 2);
  near(p99Ms, 3);
  near(maxMs, 90);
});

test("of nothing there are no percentiles", () => {
  const { count, p50Ms, maxMs } = new Latencies().percentiles();
  assert.is(count, 0);
  assert.ok(Number.isNaN(p50Ms) && Number.isNaN(maxMs));
});

test.run();
