/** The routes of definitions, and of the settings at functions. */
import type { FastifyInstance } from "fastify";
import type { Client } from "../client/client.ts";
import type { SettingsChange } from "../client/kept.ts";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError } from "../job/errors.ts";
import { isRecord } from "../job/plain.ts";
import type { Questions } from "./questions.ts";

/** As it is read from a body. */
interface ParsedBody {
  value: unknown;
  encoding: Encoding;
}

type Named = { Params: { name: string } };
type WithBody = Named & { Body: ParsedBody | undefined };

export function addKeptRoutes(app: FastifyInstance, client: Client, questions: Questions): void {
  app.get("/v1/definition", async ({ raw }) => {
    const definitions = await questions.ask(raw, () => client.definitions());
    return { Count: definitions.length, Definitions: definitions };
  });
  app.get<Named>("/v1/definition/:name", async ({ params, raw }) => ({
    Definition: await questions.ask(raw, () => client.definition(params.name)),
  }));
  app.put<WithBody>("/v1/definition/:name", async ({ params, body, raw }) => ({
    Definition: await questions.ask(raw, () => {
      const { value, encoding } = documentIn(body, params.name);
      return client.define(value, { encoding });
    }),
  }));
  app.delete<Named>("/v1/definition/:name", async ({ params, raw }) => ({
    Definition: await questions.ask(raw, () => client.removeDefinition(params.name)),
  }));
  app.get<Named>("/v1/function/:name/settings", async ({ params, raw }) => ({
    Settings: await questions.ask(raw, () => client.functionSettings(params.name)),
  }));
  app.put<WithBody>("/v1/function/:name/settings", async ({ params, body, raw, ip }) => {
    const settings = settingsIn(body);
    const options = { replace: true, by: `http ${ip}` };
    return { Settings: await questions.ask(raw, () => client.setFunction(params.name, settings, options)) };
  });
  app.delete<Named & { Querystring: Record<string, string> }>(
    "/v1/function/:name/settings",
    async ({ params, query, raw }) => {
      const registered = parseRegistered(query);
      return { Settings: await questions.ask(raw, () => client.unsetFunction(params.name, { registered })) };
    },
  );
}

/** A document without a name gets that of its path; another name is refused. */
function documentIn(body: ParsedBody | undefined, name: string): ParsedBody {
  if (!body) throw new AsyncError("invalid_request", "the request has no body; send a document as JSON or MessagePack");
  const { value, encoding } = body;
  if (!isRecord(value)) return body; // it is refused for what it is
  const own = value.name ?? name;
  if (own === name) return { value: { ...value, name }, encoding };
  const what = `the document has the name ${JSON.stringify(own).slice(0, 300)}, the path ${JSON.stringify(name)}`;
  throw new AsyncError("invalid_request", what);
}

function settingsIn(body: ParsedBody | undefined): SettingsChange {
  if (isRecord(body?.value)) return body.value;
  throw new AsyncError("invalid_request", 'the body must be an object with settings, e.g. {"retry_limit": 5}');
}

/** What is misspelt is refused: something else would be taken back. */
function parseRegistered(query: Record<string, string>): boolean {
  const unknown = Object.keys(query).find((key) => key !== "registered");
  if (unknown !== undefined) throw new AsyncError("invalid_request", `?${unknown} is not a known parameter`);
  const { registered = "false" } = query;
  if (registered === "true" || registered === "false") return registered === "true";
  throw new AsyncError("invalid_request", "?registered must be true or false");
}
