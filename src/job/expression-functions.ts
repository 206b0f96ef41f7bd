/** The functions of the library that expressions may call, and what each of their operands costs. */

/** A guard of the compiled environment by its name, or none for what takes as long for any value. */
export type Guard = "text" | "search" | "needle" | "duration" | "zone" | "flat" | "joined" | "none";

export interface Operands {
  receiver: Guard;
  args: Guard;
}

const FREE: Operands = { receiver: "none", args: "none" };
const OF_TEXT: Operands = { receiver: "text", args: "text" };
const SEARCHING: Operands = { receiver: "search", args: "needle" };
const OF_TIME: Operands = { receiver: "none", args: "zone" };

/** All others are refused, also those that a later version of the library may bring. */
export const FUNCTIONS: ReadonlyMap<string, Operands> = new Map([
  ...["has", "all", "exists", "exists_one", "map", "filter"].map((name) => [name, FREE] as const),
  ...["none", "of", "or", "orValue", "value", "hasValue", "dyn", "type", "at"].map((name) => [name, FREE] as const),
  ...["bool", "int", "uint", "double", "string", "timestamp", "size"].map((name) => [name, OF_TEXT] as const),
  ...["startsWith", "endsWith", "lowerAscii", "upperAscii", "trim", "substring"].map(
    (name) => [name, OF_TEXT] as const,
  ),
  ...["hex", "base64"].map((name) => [name, OF_TEXT] as const),
  ...["contains", "indexOf", "lastIndexOf", "split"].map((name) => [name, SEARCHING] as const),
  ["join", { receiver: "joined", args: "needle" }],
  ["duration", { receiver: "none", args: "duration" }],
  ...["Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "FullYear"].map((name) => [`get${name}`, OF_TIME] as const),
  ...["Hours", "Milliseconds", "Minutes", "Month", "Seconds"].map((name) => [`get${name}`, OF_TIME] as const),
]);

/** Why one that the library has is not among them, and what to do. */
export const REFUSED: ReadonlyMap<string, string> = new Map([
  ["matches", "a pattern can take forever; use startsWith, endsWith, contains or split"],
  ["bytes", "JSON has no bytes"],
  ["json", "let a worker read it"],
  ["bind", "write out what it stands for"],
]);
