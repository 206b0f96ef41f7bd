/** The requests about what is kept for jobs to come: `definition.*`, and the settings at functions, `function.*`. */
import type { Msg } from "nats";
import {
  checkDefinitionPage,
  checkName,
  checkRegistration,
  checkSettingsPatch,
  checkSettingsRemoval,
  type DefinitionInfo,
  type DefinitionReply,
  type FunctionSettingsReply,
  type SettingsView,
} from "../api/kept.ts";
import {
  DEFINITION_DELETE,
  DEFINITION_GET,
  DEFINITION_LIST,
  DEFINITION_PUT,
  FUNCTION_GET,
  FUNCTION_REGISTER,
  FUNCTION_SET,
  FUNCTION_UNSET,
} from "../api/subjects.ts";
import { decode, encodingOf } from "../bus/messages/codec.ts";
import { type Definition, type Definitions, documentIn } from "../bus/store/definitions.ts";
import {
  type SettingsBy,
  type StoredFunctionSettings,
  type StoredSettings,
  settingsIn,
} from "../bus/store/function-settings.ts";
import { AsyncError } from "../job/errors.ts";
import { definitionNotFound, parseDefinition } from "../job/named.ts";
import { toJsonValue } from "../job/plain.ts";
import { isSameJson } from "../job/same.ts";
import { type FunctionSettings as Settings, settingsText } from "../job/settings.ts";
import { iso } from "../job/time.ts";
import type { FunctionSettings } from "./function-settings.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { parseBody, type RequestEndpoint } from "./request-api.ts";

export interface KeptRequestsContext {
  definitions: Definitions;
  settings: FunctionSettings;
  stored: StoredFunctionSettings;
  lifecycle: Lifecycle;
}

export function keptRequests(context: KeptRequestsContext): RequestEndpoint[] {
  const { definitions, stored } = context;
  const endpoint = (name: string, subject: string, answer: (message: Msg) => Promise<object>): RequestEndpoint => ({
    name,
    subject,
    answer: async (message) => JSON.stringify(await answer(message)),
  });
  return [
    endpoint("definition-put", DEFINITION_PUT, ({ data }) => putDefinition(definitions, data)),
    endpoint("definition-get", DEFINITION_GET, async ({ data }) => {
      const name = checkName(parseBody(data));
      return replyOf(name, await definitions.get(name));
    }),
    endpoint("definition-list", DEFINITION_LIST, ({ data }) => listDefinitions(definitions, data)),
    endpoint("definition-delete", DEFINITION_DELETE, async ({ data }) => {
      const name = checkName(parseBody(data));
      const removed = await definitions.remove(name);
      if (!removed) throw definitionNotFound(name);
      return infoOf(removed);
    }),
    endpoint("function-get", FUNCTION_GET, async ({ data }) =>
      settingsReply(await stored.get(checkName(parseBody(data), "function"))),
    ),
    endpoint("function-set", FUNCTION_SET, ({ data }) => setByHand(context, data)),
    endpoint("function-unset", FUNCTION_UNSET, ({ data }) => unset(context, data)),
    endpoint("function-register", FUNCTION_REGISTER, ({ data }) => register(context, data)),
  ];
}

/** The body is the document, in JSON or MessagePack. */
async function putDefinition(definitions: Definitions, data: Uint8Array): Promise<DefinitionInfo> {
  if (data.length === 0) throw new AsyncError("invalid_request", "the request has no body; send the document");
  const { definition } = await definitions.put(parseDefinition(decode(data), Date.now()), encodingOf(data));
  return infoOf(definition);
}

async function listDefinitions(definitions: Definitions, data: Uint8Array): Promise<object> {
  const { from, limit } = checkDefinitionPage(parseBody(data));
  const page = await definitions.page(from, limit);
  const found = page.definitions.map(infoOf);
  return page.next === undefined ? { definitions: found } : { definitions: found, next: String(page.next) };
}

function infoOf({ name, version, updated_at }: Definition): DefinitionInfo {
  return { name, version, updated_at: iso(updated_at) };
}

function replyOf(name: string, definition: Definition | undefined): DefinitionReply {
  if (!definition) throw definitionNotFound(name);
  const { encoding } = definition;
  const document = toJsonValue(documentIn(definition), encoding) as DefinitionReply["document"];
  return { ...infoOf(definition), ...(encoding === "msgpack" && { encoding }), document };
}

async function setByHand({ stored, settings }: KeptRequestsContext, data: Uint8Array): Promise<FunctionSettingsReply> {
  const { name, fields, removed, replace, by = "unknown" } = checkSettingsPatch(parseBody(data));
  const change = await stored.change(name, (found) => {
    const next: Settings = { ...(replace ? {} : found.set?.settings), ...fields };
    for (const field of removed) delete next[field];
    return { ...found, set: { settings: next, updated_at: Date.now(), by } };
  });
  settings.changed(change.stored);
  return settingsReply(change.stored);
}

async function unset({ stored, settings }: KeptRequestsContext, data: Uint8Array): Promise<FunctionSettingsReply> {
  const { name, registered } = checkSettingsRemoval(parseBody(data));
  const change = await stored.change(name, ({ set, registered: kept }) => {
    if (registered) return { name, ...(set && { set }) };
    return { name, ...(kept && { registered: kept }) };
  });
  settings.changed(change.stored);
  return settingsReply(change.stored);
}

async function register(context: KeptRequestsContext, data: Uint8Array): Promise<{ changed: number }> {
  const { functions, worker } = checkRegistration(parseBody(data));
  let changed = 0;
  for (const { name, settings } of functions) {
    const change = await context.stored.change(name, (found) => {
      return { ...found, registered: { settings, updated_at: Date.now(), by: worker } };
    });
    if (!change.changed) continue;
    changed += 1;
    context.settings.changed(change.stored);
    tellOthers(context.lifecycle, change.before.registered, change.stored.registered, name);
  }
  return { changed };
}

/** Two workers may not agree: the last one counts. Or it is a new version of the same worker. */
function tellOthers(lifecycle: Lifecycle, before: SettingsBy | undefined, now: SettingsBy | undefined, name: string) {
  if (!before || !now || isSameJson(before.settings, now.settings)) return;
  const what = `worker ${now.by} has registered other settings for function ${name} (${settingsText(now.settings)}) than worker ${before.by} before it (${settingsText(before.settings)}): the last ones count`;
  lifecycle.emit("trouble", { what, kind: `workers register different settings for function ${name}` });
}

function settingsReply(stored: StoredSettings): FunctionSettingsReply {
  const { name, set, registered } = stored;
  return {
    name,
    settings: settingsIn(stored) ?? {},
    ...(set && { set: viewOf(set) }),
    ...(registered && { registered: viewOf(registered) }),
  };
}

function viewOf({ settings, updated_at, by }: SettingsBy): SettingsView {
  return { settings, updated_at: iso(updated_at), by };
}
