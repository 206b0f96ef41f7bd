/** Which functions are served, by whom, and how: as far as services say so on `$SRV.INFO`. */
import { afterPrefix, FUNCTION_PREFIX, functionSubject, WORKER_QUEUE } from "../../api/subjects.ts";
import { type FunctionSettings, settingsText } from "../../job/settings.ts";
import { readHeartbeatMs } from "./heartbeat.ts";
import type { ServiceEndpoint, ServiceInfo } from "./service.ts";

/** The endpoint of a function of a worker. Its name has a smaller alphabet than the function's; `index` keeps them apart. */
export function endpointOf(name: string, index: number, settings?: FunctionSettings): ServiceEndpoint {
  const short = name.replaceAll(/[^-\w]+/g, "_").replace(/^_/, "");
  const subject = functionSubject(name);
  return {
    name: `${short}-${index}`,
    subject,
    queue_group: WORKER_QUEUE,
    metadata: { function: name, ...(settings && { settings: settingsText(settings) }) },
  };
}

export interface ServedFunction {
  /** The longest interval of those that send heartbeats; undefined if none does. */
  heartbeatMs: number | undefined;
  /** Somebody serves it without heartbeats. */
  plain: boolean;
  /** Who serves it in a queue group that is not that of workers: `<service> (queue group <group>)`. */
  strangers: string[];
  /** What workers say is to be set at it, in words, and one worker that does. */
  settings: Map<string, string>;
}

export function servedFunctions(services: ServiceInfo[]): Map<string, ServedFunction> {
  const functions = new Map<string, ServedFunction>();
  for (const { name: service, id, metadata, endpoints } of services) {
    const heartbeatMs = readHeartbeatMs(metadata?.heartbeat_ms);
    for (const endpoint of endpoints) {
      const name = afterPrefix(String(endpoint?.subject), FUNCTION_PREFIX);
      if (name === undefined) continue;
      const served = functions.get(name) ?? {
        heartbeatMs: undefined,
        plain: false,
        strangers: [],
        settings: new Map<string, string>(),
      };
      functions.set(name, served);
      if (heartbeatMs === undefined) served.plain = true;
      else served.heartbeatMs = Math.max(heartbeatMs, served.heartbeatMs ?? 0);
      const settings = endpoint.metadata?.settings;
      if (typeof settings === "string" && !served.settings.has(settings))
        served.settings.set(settings, `${service} ${id}`);
      const group = endpoint.queue_group;
      if (group !== WORKER_QUEUE)
        served.strangers.push(`${service} ${id} (${group ? `queue group ${group}` : "none"})`);
    }
  }
  return functions;
}

/**
 * What is wrong with a function that is served in another queue group than that of workers, or in none; undefined if it is not.
 * Each group gets a copy of each invocation, so it is executed once by each of them.
 */
export function queueGroupProblem(name: string, { strangers }: ServedFunction): string | undefined {
  if (strangers.length === 0) return undefined;
  const who = strangers.slice(0, 3).join(", ") + (strangers.length > 3 ? ` and ${strangers.length - 3} more` : "");
  return `function ${name} is served outside of queue group ${WORKER_QUEUE}, so that attempts are executed more than once: ${who}`;
}

/** What is wrong with a function at which workers that run now want different settings; undefined if they agree. */
export function settingsProblem(name: string, { settings }: ServedFunction): string | undefined {
  if (settings.size < 2) return undefined;
  const each = [...settings].slice(0, 3).map(([text, worker]) => `${worker}: ${text}`);
  return `workers want different settings for function ${name}, and those of the one that started last count: ${each.join("; ")}`;
}
