/** `async check`: what is wrong with a job in a file, or in which order its entries run. Nothing is submitted. */
import { checkJob, parseSubmission } from "../job/check.ts";
import type { Reason } from "../job/errors.ts";
import { orderOf } from "../job/order.ts";
import { EXIT } from "./exit.ts";
import { drawGraph } from "./graph.ts";
import { readJobFile } from "./job-file.ts";
import { describeReasons } from "./reasons.ts";

/** Exits with 1 where something is wrong. @throws AsyncError if the file cannot be read, or holds no JSON or MessagePack */
export async function check(file: string, { json }: { json?: true }): Promise<void> {
  const { job, encoding } = await readJobFile(file);
  const reasons = checkJob(job, { encoding });
  if (reasons.length > 0) process.exitCode = EXIT.failed;
  process.stdout.write(`${json ? JSON.stringify(asData(job, reasons), null, 2) : asText(job, reasons)}\n`);
}

function asData(job: unknown, reasons: Reason[]): object {
  return reasons.length > 0 ? { valid: false, reasons } : { valid: true, order: orderOf(parseSubmission(job)) };
}

function asText(job: unknown, reasons: Reason[]): string {
  return reasons.length > 0 ? describeReasons(reasons) : drawGraph(parseSubmission(job));
}
