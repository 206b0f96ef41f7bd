/**
 * SIM-5: a live job always has a token. Any message that leads to the job will do: an older token is the cause to make the newer
 * one. Where none is left but timers and places, a graph has all of these that its state names: a timer for the first time that
 * is due, at that time or before, and a place for each function that one of its entries waits for.
 */

import { isTokenOf, timerNumberOf } from "../../src/bus/tokens/timers.ts";
import { restParked } from "../../src/job/rest.ts";
import { isEnded, isGraph, type JobState, type LiveJob } from "../../src/job/state.ts";
import type { JetStream } from "./jetstream.ts";
import { Violation } from "./seen.ts";
import type { Stored } from "./stream.ts";

export function requireToken(jetStream: JetStream | undefined, job: JobState, when: string): void {
  if (isEnded(job) || !jetStream || jetStream.stream("JOBS").messages.has(job.sequence)) return;
  const { job_id: jobId } = job;
  const timers = jetStream.stream("TIMERS");
  if (timers.newest.has(`job.wake.${jobId}`)) return;
  const timer = timers.last(`job.timer.${jobId}`);
  const places = [...timers.messages.values()].filter(
    ({ subject }) => subject.startsWith("job.wait.") && subject.endsWith(`.${jobId}`),
  );
  if (!timer && places.length === 0) throw new Violation("SIM-5", `live job ${jobId} has no token ${when}`);
  if (isGraph(job)) requireAll(job, timer, places, when);
}

function requireAll(job: LiveJob, timer: Stored | undefined, places: Stored[], when: string): void {
  const { job_id: jobId, token } = job;
  const isCurrent = ({ data }: Stored) => isTokenOf(job, data) && timerNumberOf(data) >= token;
  const { until, functionNames } = restParked(job);
  // One that is to be found older than its state makes all that is missing.
  if ((timer && !isCurrent(timer)) || (!timer && until === undefined && places.some((place) => !isCurrent(place))))
    return;
  // Who retries it by hand sets a timer for a little later first, and moves it forward when the state is stored.
  const isByHand = job.writer.includes("/");
  if (until !== undefined && !(timer && isByHand)) {
    const at = Date.parse(timer?.headers?.get("Nats-Schedule").slice("@at ".length) ?? "");
    if (!timer || !(at <= until))
      throw new Violation("SIM-5", `live job ${jobId} has no timer for ${until} ${when}, it has ${at}`);
  }
  for (const name of functionNames) {
    const isThere = places.some((place) => place.subject === `job.wait.${name}.${jobId}` && isCurrent(place));
    // A timer that is set for now brings it back, and makes no place.
    const isHurried = timer?.headers?.get("Nats-Schedule") === "@at 1970-01-01T00:00:00.000Z";
    if (!isThere && !isHurried && !isByHand)
      throw new Violation("SIM-5", `live job ${jobId} has no place for ${name} ${when}`);
  }
}
