import type { Bus } from "../../src/bus/connection.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { eventually } from "./waiting.ts";

const ENDS = ["completed", "failed", "cancelled"];

/**
 * The types of the stored events of a job that has ended, in their order. Whoever waits for a job hears of its end a moment before
 * stream EVENTS has stored it, hence they are read until an end is among them.
 */
export function eventsOf(bus: Bus, jobId: string): Promise<string[]> {
  return eventually(`the end of ${jobId} is stored`, async () => {
    const { messages } = await readBatch(bus, "EVENTS", { filter: `job.event.${jobId}.*`, from: 1, batch: 100 });
    const types = messages.map(({ subject }) => subject.split(".")[3] ?? "");
    return types.some((type) => ENDS.includes(type)) ? types : undefined;
  });
}

/** Those of them that are ends: a job that was retried by hand has several. */
export async function endsOf(bus: Bus, jobId: string): Promise<string[]> {
  return (await eventsOf(bus, jobId)).filter((type) => ENDS.includes(type));
}
