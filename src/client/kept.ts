/** What a client asks about definitions and the settings at functions. Inputs are checked here, so that mistakes are told at once. */
import {
  checkName,
  type DefinitionInfo,
  type DefinitionReply,
  type DefinitionsReply,
  type FunctionSettingsReply,
  requireFunctionName,
} from "../api/kept.ts";
import {
  DEFINITION_DELETE,
  DEFINITION_GET,
  DEFINITION_LIST,
  DEFINITION_PUT,
  FUNCTION_GET,
  FUNCTION_SET,
  FUNCTION_UNSET,
} from "../api/subjects.ts";
import { encodeGiven } from "../bus/messages/codec.ts";
import type { Encoding } from "../job/encoding.ts";
import { InvalidInputError, isAsyncError, messageOf } from "../job/errors.ts";
import { parseDefinition } from "../job/named.ts";
import { isRecord, UnsendableError } from "../job/plain.ts";
import type { JobDocument } from "../job/schema.ts";
import { type FunctionSettings, parseSettings } from "../job/settings.ts";
import { answerIn, recordsIn, unreadable } from "./answers.ts";
import { REQUEST_TIMEOUT_MS, type Requester } from "./requester.ts";

/** More than there can be. */
const MAX_DEFINITIONS = 10_000;
/** How long a submission waits to hear of its definition. It is stored all the same. */
const GLANCE_MS = 1_000;

export interface DefineOptions {
  /** In which the document is stored; in MessagePack it may have bytes. Default `json`. */
  encoding?: Encoding;
}

/** What is to be set at a function; null takes a field back. */
export type SettingsChange = { [Field in keyof FunctionSettings]?: FunctionSettings[Field] | null };

export interface SetFunctionOptions {
  /** What is not named goes, too. Default false. */
  replace?: boolean;
  /** Who does it, as it is shown. */
  by?: string;
}

export async function define(
  requests: Requester,
  document: unknown,
  { encoding = "json" }: DefineOptions,
): Promise<DefinitionInfo> {
  const body = encodeDefinition(document, encoding);
  return infoIn(answerIn(await requests.send(DEFINITION_PUT, body, REQUEST_TIMEOUT_MS)));
}

export async function definition(requests: Requester, name: string): Promise<DefinitionReply> {
  return definitionIn(await requests.ask(DEFINITION_GET, { name: checkName({ name }) }));
}

/** What a definition says. Undefined where it cannot be asked for now. @throws AsyncError `definition_not_found` */
export async function glanceAt(requests: Requester, name: string): Promise<JobDocument | undefined> {
  try {
    return definitionIn(await requests.askQuickly(DEFINITION_GET, { name }, GLANCE_MS)).document;
  } catch (error) {
    // Who takes the job will see; nobody may be there to be asked, or it may not be asked for.
    if (!isAsyncError(error) || error.code === "definition_not_found" || error.code === "closed") throw error;
    return undefined;
  }
}

export async function definitions(requests: Requester): Promise<DefinitionInfo[]> {
  const found = new Map<string, DefinitionInfo>();
  await requests.pages<Partial<DefinitionsReply>>(DEFINITION_LIST, {}, MAX_DEFINITIONS, (page) => {
    for (const one of recordsIn(page.definitions)) found.set(one.name, one);
    return found.size;
  });
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

export async function removeDefinition(requests: Requester, name: string): Promise<DefinitionInfo> {
  return infoIn(await requests.askOnce(DEFINITION_DELETE, { name: checkName({ name }) }));
}

export async function functionSettings(requests: Requester, name: string): Promise<FunctionSettingsReply> {
  requireFunctionName(name);
  return settingsIn(await requests.ask(FUNCTION_GET, { name }));
}

export async function setFunction(
  requests: Requester,
  name: string,
  settings: SettingsChange,
  { replace, by }: SetFunctionOptions,
): Promise<FunctionSettingsReply> {
  requireFunctionName(name);
  parseSettings(settings);
  const request = { name, settings, ...(replace && { replace }), ...(by !== undefined && { by }) };
  return settingsIn(await requests.ask(FUNCTION_SET, request));
}

export async function unsetFunction(
  requests: Requester,
  name: string,
  { registered = false }: { registered?: boolean },
): Promise<FunctionSettingsReply> {
  requireFunctionName(name);
  return settingsIn(await requests.ask(FUNCTION_UNSET, { name, ...(registered && { registered }) }));
}

/** @throws InvalidInputError with every reason */
function encodeDefinition(document: unknown, encoding: Encoding) {
  const refused = (path: string, message: string) =>
    new InvalidInputError("invalid_submission", "not a valid definition", [{ path, message }]);
  try {
    return encodeGiven(parseDefinition(document, Date.now()), encoding);
  } catch (error) {
    if (isAsyncError(error)) throw error;
    if (error instanceof UnsendableError) throw refused(error.path, error.problem);
    throw refused("", `cannot be read: ${messageOf(error)}`);
  }
}

function infoIn(answer: object): DefinitionInfo {
  const { name, version, updated_at } = answer as Partial<DefinitionInfo>;
  const isOne = typeof name === "string" && typeof version === "number" && typeof updated_at === "string";
  if (!isOne) throw unreadable("is no definition");
  return answer as DefinitionInfo;
}

function definitionIn(answer: object): DefinitionReply {
  if (!isRecord((answer as Partial<DefinitionReply>).document)) throw unreadable("is no definition");
  return infoIn(answer) as DefinitionReply;
}

function settingsIn(answer: object): FunctionSettingsReply {
  const { name, settings } = answer as Partial<FunctionSettingsReply>;
  if (typeof name !== "string" || !isRecord(settings)) throw unreadable("does not say what is set");
  return answer as FunctionSettingsReply;
}
