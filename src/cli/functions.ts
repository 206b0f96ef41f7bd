/** Which functions jobs wait for, for the doctor and for who waits for a job. */
import type { FunctionDepth } from "../api/requests.ts";
import { functionSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import type { ServiceInfo } from "../bus/messages/service.ts";
import type { Backlog } from "../bus/tokens/backlog.ts";
import { Client } from "../client/client.ts";
import { isAsyncError } from "../job/errors.ts";

/**
 * The functions that jobs wait for, as supervisors say; and those that have a backlog, if there is no supervisor to ask, or none that
 * knows of it.
 *
 * @throws AsyncError of the bus
 */
export async function waitedFor(bus: Bus, backlog: Backlog, services: ServiceInfo[]): Promise<FunctionDepth[]> {
  const found = new Map<string, FunctionDepth>();
  for (const depth of await depthsOf(bus)) if (depth.waiting > 0) found.set(depth.name, depth);
  const served = new Set(services.flatMap(({ endpoints }) => endpoints.map(({ subject }) => subject)));
  for (const name of await backlog.functions()) {
    if (found.has(name)) continue;
    const isServed = served.has(functionSubject(name));
    found.set(name, { name, waiting: 0, in_flight: 0, workers: 0, slots: 0, ...(!isServed && { unserved: true }) });
  }
  return [...found.values()];
}

/** None if no supervisor can be asked, which is told elsewhere. */
async function depthsOf(bus: Bus): Promise<FunctionDepth[]> {
  try {
    return (await new Client(bus).functions()).functions;
  } catch (error) {
    if (isAsyncError(error, "no_responders") || isAsyncError(error, "bus_timeout")) return [];
    throw error;
  }
}
