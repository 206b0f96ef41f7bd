/**
 * The shape of a document as JSON Schema (draft 7, which every editor knows), made from the schema by which documents are
 * checked. It says also that an entry does one thing, and which options go with it; what no schema can say (ids that exist, dates
 * that do, expressions) is left to `check.ts`.
 */
import { MEANINGLESS } from "./graph-check.ts";
import { KINDS, Submission } from "./schema.ts";

export type JsonSchema = { [keyword: string]: unknown };

/** Where the bridge serves it. */
export const JOB_SCHEMA_PATH = "/v1/schema/job.json";

/** A value of its own at each call. */
export function jobSchema(): JsonSchema {
  // What is no JSON of it (the marks of the library) is for the checks alone.
  const { properties, ...rest } = JSON.parse(JSON.stringify(Submission));
  const { functions } = properties;
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "A job of async",
    ...rest,
    properties: {
      $schema: { type: "string", description: "Where editors find this schema. It is no part of the job." },
      ...properties,
      functions: { ...functions, items: { ...functions.items, oneOf: KINDS.map(entryOf) } },
    },
  };
}

/** Of an entry that does this: it does nothing else, and has no options that are for others. */
function entryOf(kind: (typeof KINDS)[number]): JsonSchema {
  const others = KINDS.filter((other) => other !== kind);
  const refused = [...others, ...Object.keys(MEANINGLESS[kind])].map((option) => [option, false]);
  return { required: [kind], properties: { [kind]: {}, ...Object.fromEntries(refused) } };
}
