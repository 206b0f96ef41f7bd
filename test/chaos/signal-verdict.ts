/** Judges what has become of the signals of a graph: each is used once, in order, and none that was answered is lost. */
import type { EndedJob } from "../../src/job/state.ts";
import type { Case } from "./case.ts";
import { type Graph, neededBy } from "./graph-plan.ts";
import type { GraphPlan } from "./plan.ts";
import type { SignalRecord } from "./signaller.ts";

/** A signal that was answered so long before the time of an entry was over was there. */
const THERE_MS = 1_000;

export function judgeSignals({ id, graph }: GraphPlan, state: EndedJob, { evidence, find }: Case): void {
  const records = evidence.signals.get(id) ?? [];
  const used = usesIn(graph.entries, state);
  for (const [n, indexes] of used) {
    const record = records.find((one) => one.n === n);
    if (indexes.length > 1) find("signal used twice", `number ${n} is the result of entries ${indexes.join(", ")}`);
    if (!record) find("unfounded", `entry ${indexes[0]}: signal ${n} was never sent`);
  }
  for (const record of records) judgeRecord(record, used.has(record.n), graph, state, find);
  judgeSequence(records, used, find);
}

/** The entries that have got each payload. */
function usesIn(entries: Graph["entries"], state: EndedJob): Map<number, number[]> {
  const used = new Map<number, number[]>();
  for (const [index, { action }] of entries.entries()) {
    const fn = state.functions.at(index);
    if (action.type !== "wait" || fn?.finished_at === undefined || fn.caught || fn.skipped) continue;
    const n = Number((fn.result as { n?: unknown } | null)?.n);
    used.set(n, [...(used.get(n) ?? []), index]);
  }
  return used;
}

function judgeRecord(
  { n, name, answer, again, refusal }: SignalRecord,
  isUsed: boolean,
  graph: Graph,
  state: EndedJob,
  find: Case["find"],
): void {
  if (refusal !== undefined && refusal !== "job_ended" && refusal !== "job_not_found") {
    find("signal lost", `number ${n} was refused with ${refusal}`);
  }
  if (!answer) return;
  for (const number of again) {
    if (number !== answer.number) find("signal used twice", `number ${n} is stored as ${answer.number} and ${number}`);
  }
  if (isUsed) return;
  for (const [index, { action }] of graph.entries.entries()) {
    if (action.type !== "wait" || action.signal !== name) continue;
    const fn = state.functions.at(index);
    const gaveUp = [fn?.caught, fn?.error].some((failure) => failure?.code === "signal_timeout");
    const over = overAt(graph, index, action.timeoutMs ?? Number.POSITIVE_INFINITY, state);
    if (gaveUp && answer.at < over - THERE_MS) {
      find(
        "signal lost",
        `number ${n} was answered at ${answer.at}, entry ${index} was to wait until ${over} at least`,
      );
    }
  }
}

/** When the time of an entry was over at the earliest: it has waited since what it follows had ended. */
function overAt(graph: Graph, index: number, timeoutMs: number, state: EndedJob): number {
  const before = neededBy(graph, index).map((one) => state.functions.at(one)?.finished_at ?? 0);
  return Math.max(state.created_at, state.scheduled_at, ...before) + timeoutMs;
}

/** Those of a name are used in the order in which they were stored. */
function judgeSequence(records: SignalRecord[], used: ReadonlyMap<number, number[]>, find: Case["find"]): void {
  const numbers = new Map<number, SignalRecord>();
  for (const record of records) {
    if (!record.answer) continue;
    const other = numbers.get(record.answer.number);
    if (other)
      find("signal lost", `numbers ${other.n} and ${record.n} are stored as the same, ${record.answer.number}`);
    numbers.set(record.answer.number, record);
  }
  const unused = [...numbers].filter(([, { n }]) => !used.has(n)).map(([number]) => number);
  const last = Math.max(0, ...[...numbers].filter(([, { n }]) => used.has(n)).map(([number]) => number));
  const passedOver = unused.filter((number) => number < last);
  if (passedOver.length > 0)
    find("signal lost", `stored as ${passedOver.join(", ")} and passed over, ${last} was used`);
}
