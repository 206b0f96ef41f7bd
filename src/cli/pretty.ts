/**
 * Lines of a log as people read them in a terminal: time, level, message, then what it is about.
 *
 * `{"level":40,"time":1764367200123,"jobId":"seq-1","fn":"sum","attempt":1,"msg":"failed","err":{…}}` becomes
 * `22:00:00.123 WARN  failed  jobId=seq-1 fn=sum attempt=1 err="no such customer" at /home/me/sum.ts:3:9`.
 */
import { isRecord } from "../job/plain.ts";
import { brief } from "./table.ts";

const LEVELS: Record<number, string> = { 10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL" };
const RED = "\u001b[31m";
const YELLOW = "\u001b[33m";
const DIM = "\u001b[2m";
const PLAIN = "\u001b[39;22m";
/** Who reads it sits before the process. */
const LEFT_OUT = new Set(["level", "time", "pid", "hostname", "name", "msg"]);
/** What a reader looks for comes first. */
const FIRST = ["jobId", "fn", "attempt"];
const MAX_VALUE_LENGTH = 200;
const MAX_MESSAGE_LENGTH = 4_096;

export interface PrettyOptions {
  color: boolean;
  /** Errors with all of their stack. */
  stacks: boolean;
}

/** `line` is one of pino; what is none comes back as it is. */
export function pretty(line: string, { color, stacks }: PrettyOptions): string {
  const entry = parse(line);
  if (!entry) return line;
  const paint = (with_: string, text: string) => (color && with_ !== "" ? `${with_}${text}${PLAIN}` : text);
  const level = Number(entry.level);
  const name = (LEVELS[level] ?? String(entry.level)).padEnd(5);
  const names = Object.keys(entry).filter((key) => !LEFT_OUT.has(key));
  const fields = [...FIRST.filter((key) => names.includes(key)), ...names.filter((key) => !FIRST.includes(key))];
  const about = fields.map((key) => `${key}=${key === "err" ? errorIn(entry.err) : shownValue(entry[key])}`).join(" ");
  const words = brief(entry.msg ?? "", MAX_MESSAGE_LENGTH);
  const head = `${paint(DIM, timeOf(Number(entry.time)))} ${paint(level >= 50 ? RED : level >= 40 ? YELLOW : "", name)}`;
  const stack = stacks && isRecord(entry.err) ? entry.err.stack : undefined;
  return `${`${head} ${words}  ${about}`.trimEnd()}\n${typeof stack === "string" ? `${stack}\n` : ""}`;
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    return isRecord(entry) ? entry : undefined;
  } catch {
    return undefined;
  }
}

/** In UTC, as the times of jobs and events. An entry of a user may hold anything. */
function timeOf(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString().slice(-13, -1) : "--:--:--.---";
}

/** Lists of names without the marks of JSON; text with a space in it in quotes. */
function shownValue(value: unknown): string {
  if (Array.isArray(value) && value.every((one) => typeof one === "string"))
    return brief(value.join(","), MAX_VALUE_LENGTH);
  if (typeof value === "string" && /[\s"]/.test(value)) return brief(JSON.stringify(value), MAX_VALUE_LENGTH);
  return brief(value, MAX_VALUE_LENGTH);
}

/** Its message, and where in the code of the user it was thrown. */
function errorIn(error: unknown): string {
  if (!isRecord(error)) return shownValue(error);
  const place = typeof error.stack === "string" ? ownPlace(error.stack) : undefined;
  return `${JSON.stringify(brief(error.message ?? "", MAX_VALUE_LENGTH))}${place ? ` at ${place}` : ""}`;
}

/** Where in the code of the user a stack passes first. */
export function ownPlace(stack: string): string | undefined {
  const frames = stack.split("\n");
  const own = frames.find((frame) => /^\s+at .*:\d+:\d+\)?$/.test(frame) && !/node_modules|\bnode:/.test(frame));
  return own && /(?:\(|at )(?:file:\/\/)?([^()\s]+:\d+:\d+)\)?$/.exec(own)?.[1];
}
