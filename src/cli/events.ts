/** `async events <id>`: what has happened to a job, and with `--follow` what happens, until its end. */
import type { ListedEvent } from "../api/requests.ts";
import type { Client } from "../client/client.ts";
import type { JobEvent } from "../job/events.ts";
import { describeOwnEvent } from "./describe-events.ts";

export interface EventsCommandOptions {
  follow?: true | undefined;
  json?: true | undefined;
  limit: number;
  cursor?: string | undefined;
}

/** As JSON they are one document, or, where they are followed, one line each. */
export async function printEvents(
  client: Client,
  jobId: string,
  { follow, json, limit, cursor }: EventsCommandOptions,
): Promise<void> {
  if (follow) {
    await followEvents(client, jobId, json ? JSON.stringify : describeOwnEvent);
    return;
  }
  const reply = await client.events(jobId, { limit, ...(cursor !== undefined && { cursor }) });
  if (json) print(JSON.stringify(reply, null, 2));
  else for (const event of reply.events) print(describeOwnEvent(event));
  if (json) return;
  if (reply.next !== undefined) process.stderr.write(`there are more; go on with --cursor ${reply.next}\n`);
  else if (reply.events.length === 0) {
    const { state } = await client.get(jobId);
    process.stderr.write(
      `no events are kept of job ${jobId}, it is ${state}; --follow shows what happens from now on\n`,
    );
  }
}

async function followEvents(client: Client, jobId: string, lineOf: (event: ListedEvent) => string): Promise<void> {
  const told = new Set<string>();
  // What is told before the events that are kept have been read comes after them.
  let early: JobEvent[] | undefined = [];
  const tell = (event: ListedEvent) => {
    const key = keyOf(event);
    if (told.has(key)) return;
    // Of progress there may be very much; what comes live is told once.
    if (early || event.type !== "progress") told.add(key);
    print(lineOf(event));
  };
  const tellKept = async () => {
    for (let cursor: string | undefined; ; ) {
      const { events, next } = await client.events(jobId, cursor === undefined ? {} : { cursor });
      for (const event of events) if (early || event.type !== "progress") tell(event);
      if (next === undefined) return;
      cursor = next;
    }
  };
  const ended = client.wait(jobId, { onEvent: (event) => (early ? early.push(event) : tell(event)) });
  ended.catch(() => {}); // it is awaited below, after what may fail before it
  await tellKept();
  for (const event of early) tell(event);
  early = undefined;
  const { state, finished_at } = await ended;
  await tellKept(); // what could not be heard meanwhile, for example while NATS was away
  process.stderr.write(`job ${jobId} is ${state} since ${finished_at}\n`);
}

/** The same for an event that is told and kept. */
function keyOf(event: ListedEvent): string {
  const { type, at } = event;
  if (!("index" in event)) return `${type} ${at}`;
  const attempt = "attempt" in event ? `${event.attempt}${event.undo ? " undo" : ""}` : "";
  return `${type} ${at} ${event.index} ${attempt} ${"item" in event ? event.item : ""}`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
