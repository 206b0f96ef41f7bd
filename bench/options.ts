/** What may be asked of a run, and the limits of it. Whatever is not as it must be is refused with what is allowed. */
import { parseArgs } from "node:util";

/** The numbers that a scenario may take. */
export interface Numbers {
  jobs: number;
  workers: number;
  supervisors: number;
  /** Attempts at a time per worker. */
  concurrency: number;
  /** Bytes of `data` in each job. */
  payload: number;
  /** How often each thing is measured; the medians are told. */
  rounds: number;
  seconds: number;
  /** Jobs per second. */
  rate: number;
  /** Sent one at a time. */
  signals: number;
  /** Of a list. */
  items: number;
}

export type NumberName = keyof Numbers;

interface Limit {
  minimum: number;
  maximum: number;
  what: string;
}

export const LIMITS: Record<NumberName, Limit> = {
  jobs: { minimum: 1, maximum: 1_000_000, what: "jobs per round" },
  workers: { minimum: 1, maximum: 64, what: "worker processes" },
  supervisors: { minimum: 1, maximum: 16, what: "supervisor processes" },
  concurrency: { minimum: 1, maximum: 10_000, what: "attempts at a time per worker" },
  payload: { minimum: 0, maximum: 500_000, what: "bytes of data in each job" },
  rounds: { minimum: 1, maximum: 100, what: "times that each thing is measured; the medians are told" },
  seconds: { minimum: 1, maximum: 86_400, what: "length of what lasts a given time" },
  rate: { minimum: 1, maximum: 100_000, what: "jobs per second of what has a given rate" },
  signals: { minimum: 1, maximum: 100_000, what: "signals that are sent, one at a time" },
  items: { minimum: 1, maximum: 1_000_000, what: "items of a list" },
};

/** What a number is where neither the user nor the scenario says otherwise. */
export const DEFAULTS: Numbers = {
  jobs: 10_000,
  workers: 1,
  supervisors: 1,
  concurrency: 100,
  payload: 0,
  rounds: 5,
  seconds: 10,
  rate: 500,
  signals: 500,
  items: 10_000,
};

/** What async can be measured against: itself in one process, the floor, and what is in bench/peers. */
export const RIVALS = ["one-process", "floor", "bullmq", "bullmq-bulk", "graphile", "graphile-local"] as const;
export type Rival = (typeof RIVALS)[number];

export interface Asked {
  /** Undefined: the list of scenarios. */
  scenario: string | undefined;
  numbers: Partial<Numbers>;
  against?: Rival[];
  /** Address of the user's own server. */
  nats?: string;
  /** The file that everything is written to. */
  json?: string;
}

/** The command line is not as it must be; the message says what is allowed. */
export class UsageError extends Error {
  constructor(what: string) {
    super(what);
    this.name = "UsageError";
  }
}

const NUMBER_NAMES = Object.keys(LIMITS) as NumberName[];

/** @throws UsageError */
export function parseCommandLine(args: string[]): Asked {
  const { positionals, values } = parsed(args);
  if (positionals.length > 1)
    throw new UsageError(`one scenario at a time, or \`all\`; these are ${positionals.length}`);
  const asked: Asked = { scenario: positionals[0], numbers: {} };
  for (const name of NUMBER_NAMES) {
    const text = values[name];
    if (text !== undefined) asked.numbers[name] = numberIn(name, text);
  }
  if (values.against !== undefined) asked.against = rivalsIn(values.against);
  if (values.nats !== undefined) asked.nats = addressIn(values.nats);
  if (values.json !== undefined) {
    if (values.json === "") throw new UsageError("--json must be the path of a file");
    asked.json = values.json;
  }
  return asked;
}

function parsed(args: string[]) {
  const text = { type: "string" } as const;
  const numbers = Object.fromEntries(NUMBER_NAMES.map((name) => [name, text])) as Record<NumberName, typeof text>;
  try {
    return parseArgs({ args, allowPositionals: true, options: { ...numbers, against: text, nats: text, json: text } });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function numberIn(name: NumberName, text: string): number {
  const { minimum, maximum } = LIMITS[name];
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= minimum && value <= maximum) return value;
  throw new UsageError(`--${name} must be an integer from ${minimum} to ${maximum}, not ${JSON.stringify(text)}`);
}

function rivalsIn(text: string): Rival[] {
  const names = text.split(",");
  const unknown = names.filter((name) => !RIVALS.includes(name as Rival));
  if (unknown.length === 0) return [...new Set(names as Rival[])];
  throw new UsageError(`--against must be some of ${RIVALS.join(",")}, not ${JSON.stringify(text)}`);
}

function addressIn(text: string): string {
  const one = /^((nats|tls):\/\/)?[^\s/,]+$/;
  if (text !== "" && text.split(",").every((address) => one.test(address))) return text;
  throw new UsageError(`--nats must be an address such as nats://127.0.0.1:4222, not ${JSON.stringify(text)}`);
}
