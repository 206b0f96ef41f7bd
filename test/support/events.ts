import type { Bus } from "../../src/bus/connection.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { eventually } from "./waiting.ts";

const ENDS = ["completed", "failed", "cancelled"];

/** The types of the stored events of a job, in their order. */
export async function keptOf(bus: Bus, jobId: string): Promise<string[]> {
  const { messages } = await readBatch(bus, "EVENTS", { filter: `job.event.${jobId}.*`, from: 1, batch: 100 });
  return messages.map(({ subject }) => subject.split(".")[3] ?? "");
}

/**
 * The same of a job that has ended. Whoever waits for a job hears of its end a moment before stream EVENTS has stored it, hence they
 * are read until an end is among them.
 */
export function eventsOf(bus: Bus, jobId: string): Promise<string[]> {
  return eventually(`the end of ${jobId} is stored`, async () => {
    const types = await keptOf(bus, jobId);
    return types.some((type) => ENDS.includes(type)) ? types : undefined;
  });
}

/** Those of them that are ends: a job that was retried by hand has several. */
export async function endsOf(bus: Bus, jobId: string): Promise<string[]> {
  return (await eventsOf(bus, jobId)).filter((type) => ENDS.includes(type));
}
