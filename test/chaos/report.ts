/** A run as people read it: the table, and the history of jobs that something is wrong with. */
import { stripVTControlCharacters } from "node:util";
import type { JobEvent } from "../../src/job/events.ts";
import { overlaps } from "./excuses.ts";
import { type Evidence, FINDINGS, type Finding, type FindingKind, type Verdict } from "./findings.ts";
import { isGraphPlan, isSagaPlan } from "./plan.ts";

export interface RunOptions {
  seed: number;
  jobs: number;
  nodes: number;
  supervisors: number;
  workers: number;
  /** How long jobs are submitted and faults happen. */
  seconds: number;
  /** No pause is longer. */
  maxPauseMs: number;
  /** The share of jobs that are graphs, from 0 to 1. */
  graphs: number;
  /** The share of graphs that have children, items, undo and the like, from 0 to 1. */
  sagas: number;
  /** Supervisors of the version before graphs, besides. */
  older: number;
}

export interface RunFigures extends RunOptions {
  /** From the first submission to the last end. */
  totalSeconds: number;
  unknown: ReadonlyMap<string, string>;
  repeated: number;
}

/** Of each kind of finding so many jobs are told in full. */
const MAX_HISTORIES = 3;
const MAX_IDS = 20;
/** Faults so long before a job's submission, and so long after its end, are part of its history. */
const AROUND_MS = 10_000;

/** How to run the same jobs and faults again. */
export function commandOf(options: RunOptions): string {
  const { seed, jobs, graphs, sagas, nodes, supervisors, older, workers, seconds, maxPauseMs } = options;
  const what = `--seed ${seed} --jobs ${jobs} --graphs ${graphs} --sagas ${sagas}`;
  const fleet = `--nodes ${nodes} --supervisors ${supervisors} --older ${older} --workers ${workers}`;
  return `npm run chaos -- ${what} ${fleet} --seconds ${seconds} --max-pause-ms ${maxPauseMs}`;
}

export function table(figures: RunFigures, evidence: Evidence, verdict: Verdict): string {
  const { seed, nodes, supervisors, older, workers, seconds, totalSeconds, unknown, repeated } = figures;
  const signals = [...evidence.signals.values()].flat();
  const retries = [...evidence.retries.values()];
  const graphs = evidence.plans.filter(isGraphPlan).length;
  const sagas = evidence.plans.filter(isSagaPlan);
  const children = [...evidence.children.values()].flat().length;
  const cancels = [...evidence.cancels.values()].flat();
  const found = (...kinds: FindingKind[]) => verdict.findings.filter(({ kind }) => kinds.includes(kind)).length;
  const stored = [...unknown.keys()].filter((id) => evidence.states.has(id)).length;
  const ended = verdict.completed + verdict.failed + verdict.cancelled + verdict.givenUp;
  const rows: [string, string | number][] = [
    ["seed", seed],
    ["fleet", `${nodes} node(s), ${supervisors} supervisors, ${older} older ones, ${workers} workers`],
    ["graphs", `${graphs} of ${evidence.plans.length} jobs`],
    ["sagas", `${sagas.length}, with ${children} children`],
    ["duration", `${seconds} s of faults, ${totalSeconds.toFixed(1)} s to the last end`],
    ["acknowledged", evidence.acknowledged.size],
    ["unknown outcomes", `${unknown.size} (${stored} of them stored)`],
    ["submitted twice", repeated],
    ["signals", counts(signals.map(({ answer, refusal }) => (answer ? "answered" : (refusal ?? "no answer"))))],
    ["retries by hand", counts(retries)],
    ["cancels by hand", counts(cancels.map(({ answer = "no answer" }) => answer))],
    ["completed", verdict.completed],
    ["failed as planned", verdict.failed],
    ["cancelled", verdict.cancelled],
    ["given up", `${verdict.givenUp} (five lost attempts of one step)`],
    ["lost, not ended", found("lost", "unfinished")],
    ["ended wrongly", found("wrong", "unfounded", "too early")],
    ["out of order", found("out of order")],
    ["wrong input", found("wrong input")],
    ["signals lost", found("signal lost")],
    ["signals used twice", found("signal used twice")],
    ["not undone", found("not undone")],
    ["undone wrongly", found("undone twice", "undone too early", "undone out of order")],
    ["child later", found("child later")],
    ["left over", found("left over")],
    ["ended twice", found("ended twice")],
    ["end not told", found("end not told")],
    ["executions", `${verdict.executions}, ${verdict.accepted} of them counted`],
    ["wasted by faults", verdict.wasted],
    ["unexplained", found("unexplained")],
    ["begun again", found("begun again")],
    ["lost attempts", verdict.lostAttempts],
    ["faults", counts(evidence.faults.map(({ role, kind }) => `${role} ${kind}`))],
    ["rate", `${(ended / totalSeconds).toFixed(1)} jobs/s`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(18)} ${value}\n`).join("");
}

/** How many there are, and of each kind. */
function counts(kinds: string[]): string {
  const found = new Map<string, number>();
  for (const kind of kinds) found.set(kind, (found.get(kind) ?? 0) + 1);
  const listed = [...found].sort().map(([kind, count]) => `${count} ${kind}`);
  return `${kinds.length}: ${listed.join(", ")}`;
}

/** What is wrong, with the histories of the first jobs of each kind of finding. */
export function explain(findings: Finding[], evidence: Evidence): string {
  const told = new Set<string>();
  const parts: string[] = [];
  for (const kind of Object.keys(FINDINGS) as FindingKind[]) {
    const ofKind = findings.filter((finding) => finding.kind === kind);
    if (ofKind.length === 0) continue;
    const ids = [...new Set(ofKind.map(({ job }) => job))];
    const rest = ids.length > MAX_IDS ? `, and ${ids.length - MAX_IDS} more` : "";
    parts.push(`\n${kind} (${FINDINGS[kind]}): ${ids.slice(0, MAX_IDS).join(" ")}${rest}\n`);
    for (const { job, details } of ofKind.slice(0, MAX_HISTORIES)) {
      parts.push(`\n  ${job}: ${details}\n`);
      if (!told.has(job)) parts.push(history(job, evidence));
      told.add(job);
    }
  }
  return parts.join("");
}

interface Moment {
  at: number;
  what: string;
}

/** What is known of a job, in the order in which it happened. */
function history(job: string, evidence: Evidence): string {
  const plan = evidence.plans.find(({ id }) => id === job);
  const family = [job, ...descendantIds(job, evidence)];
  const moments = family.flatMap((id) => momentsOf(id, evidence)).sort((a, b) => a.at - b.at);
  const from = (moments[0]?.at ?? 0) - AROUND_MS;
  const to = (moments.at(-1)?.at ?? 0) + AROUND_MS;
  for (const fault of evidence.faults.filter((one) => overlaps(one, from, to))) {
    moments.push({ at: fault.from, what: `fault      ${fault.kind} ${fault.process}` });
    if (fault.to !== undefined) moments.push({ at: fault.to, what: `fault over ${fault.kind} ${fault.process}` });
  }
  moments.sort((a, b) => a.at - b.at);
  const lines = [
    `plan: ${JSON.stringify(plan)}`,
    `state: ${JSON.stringify(evidence.states.get(job), withoutStacks)}`,
    `retry: ${evidence.retries.get(job) ?? "none"}`,
    `cancels: ${JSON.stringify(evidence.cancels.get(job) ?? [])}`,
    ...(evidence.children.get(job) ?? []).map((child) => `child: ${JSON.stringify(child, withoutStacks)}`),
    ...moments.map(({ at, what }) => `${new Date(at).toISOString().slice(11, 23)} ${at}  ${what}`),
  ];
  return lines.map((line) => `    ${stripVTControlCharacters(line)}\n`).join("");
}

function withoutStacks(key: string, value: unknown): unknown {
  if (key === "stack") return undefined;
  return typeof value === "string" && value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value;
}

/** Of a text that is shown. */
const MAX_TEXT = 500;

function descendantIds(job: string, evidence: Evidence): string[] {
  const children = evidence.children.get(job) ?? [];
  return children.flatMap(({ job_id: id }) => [id, ...descendantIds(id, evidence)]);
}

function momentsOf(job: string, evidence: Evidence): Moment[] {
  const moments: Moment[] = [];
  const acknowledgedAt = evidence.acknowledged.get(job);
  if (acknowledgedAt !== undefined) moments.push({ at: acknowledgedAt, what: "acknowledged" });
  for (const { at, process, what } of evidence.owners.get(job) ?? []) {
    moments.push({ at, what: `owner      ${job} ${process} ${what}` });
  }
  for (const { storedAt, event } of evidence.events.get(job) ?? []) {
    moments.push({ at: storedAt, what: `event      ${job} ${eventText(event)}` });
  }
  for (const { name, n, sentAt, answer, refusal } of evidence.signals.get(job) ?? []) {
    moments.push({ at: sentAt, what: `signal     ${name} ${n} sent first${refusal ? `, refused: ${refusal}` : ""}` });
    if (answer) moments.push({ at: answer.at, what: `signal     ${name} ${n} answered as number ${answer.number}` });
  }
  for (const { process, index, item, attempt, call = "", begun, ended, outcome } of evidence.executions.get(job) ??
    []) {
    const of = item === undefined ? "" : ` item ${item}`;
    const step = `${job} step ${index}${of} ${call} attempt ${attempt} in ${process}`;
    moments.push({ at: begun, what: `execution  ${step} begun` });
    if (ended !== undefined) moments.push({ at: ended, what: `execution  ${step} ${outcome}` });
  }
  return moments.sort((a, b) => a.at - b.at);
}

function eventText(event: JobEvent): string {
  const { job_id: _id, job_name: _name, at: _at, type, ...details } = event;
  return `${type} ${JSON.stringify(details, (key, value) => (key === "stack" ? undefined : value))}`;
}
