/**
 * The shape of a document as JSON Schema (draft 7, which every editor knows), made from the schema by which documents are
 * checked. It says also that an entry does one thing, and which options go with it; what no schema can say (ids that exist, dates
 * that do, expressions, how deep jobs are in jobs) is left to `check.ts`.
 */
import { MEANINGLESS, OPTIONS_OF_ITEMS } from "./entry-check.ts";
import { Child, Expression, FunctionSpec, KINDS, Submission } from "./schema.ts";

export type JsonSchema = { [keyword: string]: unknown };

/** Where the bridge serves it. */
export const JOB_SCHEMA_PATH = "/v1/schema/job.json";

/** A value of its own at each call. */
export function jobSchema(): JsonSchema {
  const { properties, ...rest } = withEntries(Submission);
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "A job of async",
    ...rest,
    // Without functions it runs the definition of its name.
    required: Submission.required.filter((field) => field !== "functions"),
    properties: {
      $schema: { type: "string", description: "Where editors find this schema. It is no part of the job." },
      ...properties,
    },
    definitions: { entry: entry(), child: { title: "A child job", ...withEntries(Child) } },
  };
}

/** Of a document, whose entries are defined once: they may hold documents themselves. */
function withEntries(schema: object) {
  const { properties, ...rest } = plain(schema);
  return {
    ...rest,
    properties: { ...properties, functions: { ...properties.functions, items: { $ref: "#/definitions/entry" } } },
  };
}

function entry(): JsonSchema {
  const { properties, ...rest } = plain(FunctionSpec);
  const { title, description } = FunctionSpec.properties.job;
  return {
    ...rest,
    properties: {
      ...properties,
      job: { title, description, anyOf: [{ $ref: "#/definitions/child" }, plain(Expression)] },
    },
    oneOf: KINDS.map(entryOf),
    dependencies: Object.fromEntries(OPTIONS_OF_ITEMS.map((option) => [option, ["for_each"]])),
  };
}

/** What is no JSON of it (the marks of the library) is for the checks alone. */
function plain(schema: object): JsonSchema & { properties: Record<string, JsonSchema> } {
  return JSON.parse(JSON.stringify(schema));
}

/** Of an entry that does this: it does nothing else, and has no options that are for others. */
function entryOf(kind: (typeof KINDS)[number]): JsonSchema {
  const others = KINDS.filter((other) => other !== kind);
  const refused = [...others, ...Object.keys(MEANINGLESS[kind])].map((option) => [option, false]);
  return { required: [kind], properties: { [kind]: {}, ...Object.fromEntries(refused) } };
}
