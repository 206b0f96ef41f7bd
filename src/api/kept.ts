/** Bodies of requests about definitions and the settings at functions, and of their answers: JSON. What comes in is checked here. */
import type { Encoding } from "../job/encoding.ts";
import { AsyncError, InvalidInputError, type Reason } from "../job/errors.ts";
import { functionNameProblem } from "../job/names.ts";
import { isRecord } from "../job/plain.ts";
import type { JobDocument } from "../job/schema.ts";
import { type FunctionSettings, parseSettings, SETTINGS_FIELDS } from "../job/settings.ts";
import { DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT } from "./requests.ts";

/** A definition without its document. */
export interface DefinitionInfo {
  name: string;
  /** Counted up by each change, from 1. */
  version: number;
  /** ISO 8601. */
  updated_at: string;
}

export interface DefinitionReply extends DefinitionInfo {
  /** Only of one that was stored in MessagePack. */
  encoding?: Encoding;
  /** In MessagePack there may be what JSON has not: it is shown as in a job. */
  document: JobDocument;
}

/** The answer to `definition.list`. */
export interface DefinitionsReply {
  definitions: DefinitionInfo[];
  /** Where to go on; absent when there is no more. */
  next?: string;
}

/** What somebody has set, or a worker has registered. */
export interface SettingsView {
  settings: FunctionSettings;
  /** ISO 8601. */
  updated_at: string;
  /** Who did it. */
  by: string;
}

/** What is set at a function. */
export interface FunctionSettingsReply {
  name: string;
  /** What counts, where a job does not say it: what is set by hand, and else what is registered. */
  settings: FunctionSettings;
  set?: SettingsView;
  registered?: SettingsView;
}

/** Longest name of a definition, in characters: that of a job. */
const MAX_NAME_LENGTH = 256;
const MAX_BY_LENGTH = 128;
/** Functions in one registration. */
export const MAX_REGISTERED = 100;

/** The `name` of a request. @throws AsyncError `invalid_request`, `invalid_function_name` */
export function checkName({ name }: Record<string, unknown>, of: "definition" | "function" = "definition"): string {
  if (typeof name !== "string" || name === "")
    throw new AsyncError("invalid_request", `name must be the name of a ${of}`);
  if (of === "function") requireFunctionName(name);
  else if (name.length > MAX_NAME_LENGTH || !name.isWellFormed()) {
    throw new AsyncError("invalid_request", `the name of a definition has at most ${MAX_NAME_LENGTH} characters`);
  }
  return name;
}

/** @throws AsyncError `invalid_function_name` */
export function requireFunctionName(name: string): void {
  const problem = functionNameProblem(name);
  if (problem === undefined) return;
  throw new AsyncError("invalid_function_name", `function name ${JSON.stringify(name.slice(0, 256))} ${problem}`);
}

/** @throws AsyncError `invalid_request` */
export function checkDefinitionPage(body: Record<string, unknown>): { from: number; limit: number } {
  const { limit = DEFAULT_PAGE_LIMIT, cursor = "1" } = body;
  if (!Number.isInteger(limit) || (limit as number) < 1 || (limit as number) > MAX_PAGE_LIMIT) {
    throw new AsyncError("invalid_request", `limit must be an integer from 1 to ${MAX_PAGE_LIMIT}`);
  }
  if (typeof cursor !== "string" || !/^\d{1,15}$/.test(cursor)) {
    throw new AsyncError("invalid_request", "cursor must be the one of the page before");
  }
  return { from: Number(cursor), limit: limit as number };
}

export interface SettingsPatch {
  name: string;
  fields: FunctionSettings;
  /** Fields that are null. */
  removed: (keyof FunctionSettings)[];
  /** What is not named goes. */
  replace: boolean;
  by?: string;
}

/** Body of a request to `function.set`: `{name, settings, replace?, by?}`. @throws AsyncError `invalid_request` */
export function checkSettingsPatch(body: Record<string, unknown>): SettingsPatch {
  requireKnown(body, ["name", "settings", "replace", "by"]);
  const name = checkName(body, "function");
  const { settings, replace = false, by } = body;
  const fields = parseSettings(settings, "/settings");
  const removed = SETTINGS_FIELDS.filter((field) => isRecord(settings) && settings[field] === null);
  if (typeof replace !== "boolean") throw new AsyncError("invalid_request", "replace must be true or false");
  if (!replace && removed.length === 0 && Object.keys(fields).length === 0) {
    throw new AsyncError("invalid_request", `settings must have one of ${SETTINGS_FIELDS.join(", ")}`);
  }
  return { name, fields, removed, replace, ...(by !== undefined && { by: word("by", by) }) };
}

/** Body of a request to `function.unset`: `{name, registered?}`. @throws AsyncError `invalid_request` */
export function checkSettingsRemoval(body: Record<string, unknown>): { name: string; registered: boolean } {
  requireKnown(body, ["name", "registered"]);
  const { registered = false } = body;
  if (typeof registered !== "boolean") throw new AsyncError("invalid_request", "registered must be true or false");
  return { name: checkName(body, "function"), registered };
}

export interface Registration {
  functions: { name: string; settings: FunctionSettings }[];
  /** Which worker, in words. */
  worker: string;
}

/** Body of a request to `function.register`, which workers send. @throws AsyncError `invalid_request` */
export function checkRegistration(body: Record<string, unknown>): Registration {
  const { functions, worker } = body;
  if (!Array.isArray(functions) || functions.length > MAX_REGISTERED || !functions.every(isRecord)) {
    const form = `[{"name": "charge", "settings": {…}}, …], with at most ${MAX_REGISTERED} functions`;
    throw new AsyncError("invalid_request", `functions must be ${form}`);
  }
  const checked = functions.map((one, index) => {
    return { name: checkName(one, "function"), settings: parseSettings(one.settings, `/functions/${index}/settings`) };
  });
  return { functions: checked, worker: word("worker", worker) };
}

function word(field: string, value: unknown): string {
  if (typeof value === "string" && value.length > 0 && value.length <= MAX_BY_LENGTH) return value;
  throw new AsyncError("invalid_request", `${field} must be text of 1 to ${MAX_BY_LENGTH} characters`);
}

/** @throws InvalidInputError */
function requireKnown(body: Record<string, unknown>, known: string[]): void {
  const reasons: Reason[] = Object.keys(body)
    .filter((key) => !known.includes(key))
    .map((key) => ({ path: `/${key.slice(0, 64)}`, message: `is not a known field; there are ${known.join(", ")}` }));
  if (reasons.length > 0) throw new InvalidInputError("invalid_request", "not a valid request", reasons.slice(0, 20));
}
