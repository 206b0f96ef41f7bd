/** `async explain <id>`: why a job waits, as people read it. */
import type { Explanation } from "../job/explanation.ts";
import { brief, type Column, cut, outputWidth, table } from "./table.ts";

/** A line for each entry that has not ended; of a job that has, what ended it. What is cut is said to be. */
export function describeExplanation(explanation: Explanation, width = outputWidth()): string {
  const { job_id, state, entries, omitted, ended } = explanation;
  const whole = (text: string) => brief(text, Number.POSITIVE_INFINITY);
  const head = cut(`job ${job_id} ${ended ? `has ${whole(ended.text)}` : `is ${state}`}`, width);
  const lines = [head];
  if (entries.length > 0) {
    const rows = entries.map(({ index, id, kind, name, text, since }) => [
      String(index),
      whole(id ?? name ?? kind),
      whole(text),
      since ?? "-",
    ]);
    const entry: Column = { title: "ENTRY", shorten: "end" };
    const why: Column = { title: "WHY", shorten: "end" };
    lines.push("", table(["#", entry, why, { title: "SINCE", leaveOut: 1 }], rows, width));
  }
  if (omitted !== undefined) lines.push(`and ${omitted} more, which have not ended`);
  if (lines.join("").includes("…")) lines.push("", `cut at …; whole: async explain ${job_id} --json`);
  return lines.join("\n");
}
