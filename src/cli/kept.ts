/** `async define`, `async definition` and `async function`: what is kept for jobs to come. */
import type { FunctionSettingsReply, SettingsView } from "../api/kept.ts";
import type { SettingsChange } from "../client/kept.ts";
import { AsyncError } from "../job/errors.ts";
import type { Backoff } from "../job/schema.ts";
import { hasSettings, settingsText } from "../job/settings.ts";
import { drawGraph } from "./graph.ts";
import { readJobFile } from "./job-file.ts";
import type { ConnectionFlags } from "./options.ts";
import { parseJson, whoAsks } from "./retry.ts";
import { brief, table } from "./table.ts";
import { print, toJson, withClient } from "./with-client.ts";

interface CommonOptions extends ConnectionFlags {
  json?: true;
}

/** `async define` */
export async function define(file: string, { json, ...connection }: CommonOptions): Promise<void> {
  const { job, encoding } = await readJobFile(file);
  await withClient(connection, async (client) => {
    const stored = await client.define(job, { encoding });
    print(json ? toJson(stored) : `definition ${stored.name} is stored, version ${stored.version}`);
  });
}

export const DEFINITION_ACTIONS = ["list", "show", "rm"] as const;

/** `async definition` */
export async function definition(
  action: (typeof DEFINITION_ACTIONS)[number],
  name: string | undefined,
  { json, ...connection }: CommonOptions,
): Promise<void> {
  if (action !== "list" && name === undefined) {
    throw new AsyncError("invalid_option", `missing required argument: async definition ${action} <name>`);
  }
  await withClient(connection, async (client) => {
    if (action === "list" || name === undefined) {
      const found = await client.definitions();
      const rows = found.map((one) => [brief(one.name, Number.POSITIVE_INFINITY), String(one.version), one.updated_at]);
      print(
        json ? toJson({ definitions: found }) : table([{ title: "NAME", shorten: "end" }, "VERSION", "UPDATED"], rows),
      );
    } else if (action === "show") {
      const found = await client.definition(name);
      const head = `definition ${found.name}, version ${found.version}, of ${found.updated_at}`;
      print(
        json
          ? toJson(found)
          : `${head}\n\n${drawGraph(found.document)}\n\nwhole: async definition show ${found.name} --json`,
      );
    } else {
      const removed = await client.removeDefinition(name);
      print(json ? toJson(removed) : `definition ${removed.name} is removed; jobs that have begun go on`);
    }
  });
}

export const FUNCTION_ACTIONS = ["set", "show", "unset"] as const;

export interface FunctionCommandOptions extends CommonOptions {
  retryLimit?: number;
  /** In ms. */
  retryForMs?: number;
  timeoutMs?: number;
  /** JSON. */
  backoff?: string;
  /** Fields that are taken back. */
  without?: string[];
  registered?: true;
}

/** `async function` */
export async function functionSettings(
  action: (typeof FUNCTION_ACTIONS)[number],
  name: string,
  options: FunctionCommandOptions,
): Promise<void> {
  const { json, registered } = options;
  const change = changeIn(options);
  if (action === "set" && Object.keys(change).length === 0) {
    throw new AsyncError(
      "invalid_option",
      "say what is to be set: --retry-limit, --retry-for-ms, --timeout-ms, --backoff",
    );
  }
  await withClient(options, async (client) => {
    const reply =
      action === "set"
        ? await client.setFunction(name, change, { by: whoAsks() })
        : action === "unset"
          ? await client.unsetFunction(name, { registered: registered === true })
          : await client.functionSettings(name);
    print(json ? toJson(reply) : describeSettings(reply));
  });
}

function changeIn({
  retryLimit,
  retryForMs,
  timeoutMs,
  backoff,
  without = [],
}: FunctionCommandOptions): SettingsChange {
  return {
    ...Object.fromEntries(without.map((field) => [field.replaceAll("-", "_"), null])),
    ...(retryLimit !== undefined && { retry_limit: retryLimit }),
    ...(retryForMs !== undefined && { retry_for_ms: retryForMs }),
    ...(timeoutMs !== undefined && { timeout_ms: timeoutMs }),
    ...(backoff !== undefined && { backoff: parseJson("--backoff", backoff) as Backoff }),
  };
}

export function describeSettings({ name, settings, set, registered }: FunctionSettingsReply): string {
  if (!hasSettings(settings)) return `nothing is set at function ${name}: what a job does not say has its default`;
  const by = (title: string, view: SettingsView | undefined) =>
    view ? [`${title.padEnd(12)}${settingsText(view.settings)} (${view.by}, ${view.updated_at})`] : [];
  const lines = [`function ${name}, where a job does not say it:`, `${"counts".padEnd(12)}${settingsText(settings)}`];
  return [...lines, ...by("by hand", set), ...by("by a worker", registered)].join("\n");
}
