/** What is wrong with an input, one reason a line. */
import { MAX_REASONS } from "../job/check.ts";
import type { Reason } from "../job/errors.ts";
import { table } from "./table.ts";

/** No more than so many are told, so there may be others. */
const MAYBE_MORE = "and maybe more: mend these first";

export function describeReasons(reasons: readonly Reason[]): string {
  const rows = reasons.map(({ path, message }) => [path || "/", message]);
  const text = table(["at", { title: "what is wrong" }], rows);
  return reasons.length < MAX_REASONS ? text : `${text}\n${MAYBE_MORE}`;
}
