import { afterPrefix, FUNCTION_PREFIX } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { discoverServices, type ServiceInfo, unnamedEndpoints } from "../bus/messages/service.ts";

/** A worker in the shape of the original system, with our fields added. */
export interface WorkerView {
  ID: string;
  Name: string;
  Version: string;
  /** Attempts at a time; null for services of other makers, which do not say. */
  MaxParallel: number | null;
  /** The functions it serves. */
  Capabilities: string[];
  /** How many it serves besides, which could not be told in time. */
  Omitted?: number;
  /** `idle`, `busy`, `full`, `draining`; `unknown` for services of other makers. */
  State: string;
  /** Attempts in execution; null where it is not said. */
  Running: number | null;
  /** Handlers that go on although their attempts were given up; null where it is not said. */
  Abandoned: number | null;
  Host: string | null;
  Pid: number | null;
}

/** Every service on the bus that has an endpoint on `fn.<name>`, sorted by name and id. @throws AsyncError of the bus */
export async function listWorkers(bus: Bus): Promise<WorkerView[]> {
  const workers = (await discoverServices(bus)).map(workerView).filter((worker) => worker.Capabilities.length > 0);
  return workers.sort((a, b) => a.Name.localeCompare(b.Name) || a.ID.localeCompare(b.ID));
}

function workerView(info: ServiceInfo): WorkerView {
  const { id, name, version, metadata, endpoints } = info;
  const omitted = unnamedEndpoints(info);
  return {
    ID: id,
    Name: name,
    Version: version,
    MaxParallel: numberOr(metadata?.concurrency),
    Capabilities: endpoints.flatMap((endpoint) => afterPrefix(String(endpoint.subject), FUNCTION_PREFIX) ?? []),
    ...(omitted > 0 && { Omitted: omitted }),
    State: metadata?.state ?? "unknown",
    Running: numberOr(metadata?.running),
    Abandoned: numberOr(metadata?.abandoned),
    Host: metadata?.host ?? null,
    Pid: numberOr(metadata?.pid),
  };
}

function numberOr(text: string | undefined): number | null {
  return text === undefined || Number.isNaN(Number(text)) ? null : Number(text);
}
