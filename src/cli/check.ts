/**
 * `async check`: what is wrong with a job in a file, or in which order its entries run. Nothing is submitted. NATS is needed only for one
 * without functions, which is checked together with the definition that it would run.
 */
import { checkJob, parseSubmission } from "../job/check.ts";
import { InvalidInputError, isAsyncError, type Reason } from "../job/errors.ts";
import { fromDefinition, isNamed, parseNamed } from "../job/named.ts";
import { orderOf } from "../job/order.ts";
import { EXIT } from "./exit.ts";
import { drawGraph } from "./graph.ts";
import { readJobFile } from "./job-file.ts";
import type { ConnectionFlags } from "./options.ts";
import { describeReasons } from "./reasons.ts";
import { print, toJson, withClient } from "./with-client.ts";

export interface CheckOptions extends ConnectionFlags {
  json?: true;
}

/**
 * Exits with 1 where something is wrong, with 3 where that cannot be said as the definition cannot be asked for.
 *
 * @throws AsyncError if the file cannot be read, or holds no JSON or MessagePack
 */
export async function check(file: string, { json, ...connection }: CheckOptions): Promise<void> {
  const { job: given, encoding } = await readJobFile(file);
  const named = isNamed(given) ? await wholeOf(given, connection) : { job: given };
  if ("reasons" in named) {
    process.exitCode = EXIT.failed;
    print(json ? toJson({ valid: false, reasons: named.reasons }) : describeReasons(named.reasons));
    return;
  }
  if ("unknown" in named) {
    process.exitCode = EXIT.unreachable;
    print(json ? toJson({ valid: null, unknown: named.unknown }) : named.unknown);
    return;
  }
  const { job } = named;
  const reasons = checkJob(job, { encoding });
  if (reasons.length > 0) process.exitCode = EXIT.failed;
  print(json ? toJson(asData(job, reasons)) : asText(job, reasons));
}

type Whole = { job: unknown } | { reasons: Reason[] } | { unknown: string };

/** The job that a document without functions would be now. */
async function wholeOf(given: Record<string, unknown> & { name: string }, connection: ConnectionFlags): Promise<Whole> {
  try {
    const said = parseNamed(given, Date.now());
    let whole: Whole = { job: given };
    await withClient(connection, async (client) => {
      whole = { job: fromDefinition((await client.definition(said.name)).document, said) };
    });
    return whole;
  } catch (error) {
    if (error instanceof InvalidInputError) return { reasons: error.reasons };
    if (!isAsyncError(error)) throw error;
    if (error.code === "definition_not_found")
      return { reasons: [{ path: "/functions", message: `is required: ${error.message}` }] };
    const what = `its functions are those of definition ${JSON.stringify(given.name)}, which cannot be known now`;
    return { unknown: `${what}: ${error.message}` };
  }
}

function asData(job: unknown, reasons: Reason[]): object {
  return reasons.length > 0 ? { valid: false, reasons } : { valid: true, order: orderOf(parseSubmission(job)) };
}

function asText(job: unknown, reasons: Reason[]): string {
  return reasons.length > 0 ? describeReasons(reasons) : drawGraph(parseSubmission(job));
}
