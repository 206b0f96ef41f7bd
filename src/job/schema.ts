/**
 * The shapes that users send, each declared once: `check.ts` checks documents by it, the types are derived from it, and
 * `json-schema.ts` gives it to editors. Limits are part of the schema, so that a refusal names them. What it cannot say (dates
 * that exist, entries that know of each other, expressions) is checked in `check.ts` and `graph-check.ts`.
 */
import { type Static, Type } from "@sinclair/typebox";
import { MAX_FUNCTION_NAME_LENGTH, PATTERNS } from "./names.ts";
import { DATE_PATTERN } from "./time.ts";

export const MAX_FUNCTIONS = 1_000;
export const MAX_RETRY_LIMIT = 1_000;
/** The longest timeout or delay, in ms: about ten years. */
export const MAX_DURATION_MS = 10 * 366 * 24 * 3_600_000;
/** Of an expression, in characters. */
const MAX_EXPRESSION_LENGTH = 1_024;
export const MAX_TAGS = 8;
export const MAX_TAG_LENGTH = 128;

/** A share of 100, with up to two decimals. */
export const PERCENT_PATTERN = "^(100|[0-9]{1,2}(\\.[0-9]{1,2})?)%$";

const strict = { additionalProperties: false } as const;

const Duration = (minimum: number, description: string) =>
  Type.Integer({ minimum, maximum: MAX_DURATION_MS, description });
const Word = (description: string) => Type.String({ pattern: PATTERNS.word, description });
const EntryId = (description?: string) =>
  Type.String({ pattern: PATTERNS.entryId, ...(description && { description }) });
const ExpressionText = (description: string) =>
  Type.String({ minLength: 1, maxLength: MAX_EXPRESSION_LENGTH, description });
const DateTime = (description: string) => Type.String({ title: "a date and time", pattern: DATE_PATTERN, description });
const FunctionName = (description: string) =>
  Type.String({ minLength: 1, maxLength: MAX_FUNCTION_NAME_LENGTH, pattern: PATTERNS.functionName, description });

export const Backoff = Type.Object(
  {
    type: Type.Optional(
      Type.Union([Type.Literal("exponential"), Type.Literal("fixed")], { description: "Default: exponential." }),
    ),
    delay_ms: Type.Optional(Duration(0, "The first delay. Default: 1000.")),
    factor: Type.Optional(
      Type.Number({
        minimum: 1,
        maximum: 1_000,
        description: "Each delay is that many times the one before. Default: 2.",
      }),
    ),
    max_delay_ms: Type.Optional(Duration(0, "The longest delay. Default: 60000, or delay_ms if that is more.")),
    jitter: Type.Optional(
      Type.Number({ minimum: 0, maximum: 1, description: "The random share of the delay: 0 none, 1 full jitter." }),
    ),
  },
  { ...strict, description: "How long it is waited between two executions." },
);
export type Backoff = Static<typeof Backoff>;

export const RetryOptions = Type.Object(
  {
    retry_limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_RETRY_LIMIT,
        description: "The most executions of the function, the first one included. Default: 1.",
      }),
    ),
    retry_for_ms: Type.Optional(
      Duration(1, "It is tried again for so long after its first execution began: instead of a count, or with one."),
    ),
    backoff: Type.Optional(Backoff),
  },
  { ...strict, description: "How often a function that fails is executed." },
);
export type RetryOptions = Static<typeof RetryOptions>;

const Args = Type.Unknown({
  description:
    'What the function is called with. An object whose only key is "$" with a text value is an expression: {"$": "data.total"}.',
});

/** A function that is called besides those of the list: in place of an entry that has failed, to undo one, to list items. */
const Call = (name: string) =>
  Type.Object(
    {
      name: FunctionName(name),
      args: Type.Optional(Args),
      retry_options: Type.Optional(RetryOptions),
      timeout_ms: Type.Optional(Duration(1, "The most time one attempt may take.")),
    },
    { ...strict, title: "an object with the name of a function" },
  );

/** What runs in place of an entry that has failed. */
export const ErrorEntry = Call(
  "The function that runs in its place. It is sent the error, and its result is the entry's.",
);
export type ErrorEntry = Static<typeof ErrorEntry>;
/** A function that is called besides those of the list. */
export type CallEntry = ErrorEntry;

/** A function by its name alone, or with more. */
const NameOrCall = (description: string, name: string) =>
  Type.Union([Type.String({ ...FunctionName(name), title: "the name of a function" }), Call(name)], {
    description,
    title: "the name of a function, or an object with it",
  });

/** A value that is found when it is needed: a text in CEL, see `expressions.ts`. */
export const Expression = Type.Object(
  { $: ExpressionText("An expression in CEL.") },
  { ...strict, title: 'an expression {"$": "…"}' },
);
export type Expression = Static<typeof Expression>;

/** The fields of which an entry has exactly one: they say what it does. */
export const KINDS = ["name", "wait_for", "sleep_ms", "sleep_until", "job"] as const;

/** Most items that are under way at a time. */
export const MAX_CONCURRENCY = 1_000;
export const DEFAULT_CONCURRENCY = 10;
/** Most items of an expression that gives a list; and of a number, or what a function lists. */
export const MAX_LISTED_ITEMS = 200_000;
export const MAX_ITEMS = 10_000_000;
/** How deep jobs may be in jobs: the outermost has depth 0. */
export const MAX_DEPTH = 8;

/** The document of a child job: see `Child`, which is checked by itself (`check.ts`). */
export interface ChildDocument extends Omit<Submission, "name" | "job_id" | "notify" | "scheduled_at"> {
  /** Default: that of the parent, with the id or the index of the entry: `order/invoice`. */
  name?: string;
}

/** An entry of a job's list: exactly one of `name`, `wait_for`, `sleep_ms`, `sleep_until` and `job`. All else are options. */
export const FunctionSpec = Type.Object(
  {
    name: Type.Optional(FunctionName("A function on a worker. It may look like a path: /v1/test-1.")),
    args: Type.Optional(Args),
    retry_options: Type.Optional(RetryOptions),
    timeout_ms: Type.Optional(Duration(1, "The most time one attempt may take, or a signal may take to come.")),
    id: Type.Optional(EntryId("By this name other entries need it, and expressions find its result: results.<id>.")),
    wait_for: Type.Optional(Word("The name of a signal. What is sent with it is the result.")),
    sleep_ms: Type.Optional(Duration(0, "It is done after this time.")),
    sleep_until: Type.Optional(
      Type.Union([DateTime("ISO 8601 with a time zone, e.g. 2026-11-23T21:00:00Z."), Expression], {
        description: "It is done at this time: ISO 8601 with a time zone, or an expression that gives such a text.",
      }),
    ),
    needs: Type.Optional(
      Type.Array(EntryId(), {
        maxItems: MAX_FUNCTIONS,
        description:
          "Ids of the entries that it follows; [] begins at once. Default: it follows all before it in the list.",
      }),
    ),
    when: Type.Optional(
      ExpressionText("An expression: the entry is skipped where it is false when its turn has come."),
    ),
    expect: Type.Optional(ExpressionText("An expression over its `result`: the entry fails where it is false.")),
    on_error: Type.Optional(
      Type.Union([Type.Literal("fail"), Type.Literal("continue"), ErrorEntry], {
        description:
          "What happens when it has failed for good: the job fails (default) or goes on, or another function runs in its place.",
      }),
    ),
    job: Type.Optional(
      Type.Unsafe<ChildDocument | Expression>(
        Type.Object(
          {},
          {
            title: "a job, or an expression that gives one",
            description:
              "A job of its own, which the entry waits for; its last result is the entry's. Of its document, only data may hold expressions that are evaluated here.",
          },
        ),
      ),
    ),
    for_each: Type.Optional(
      Type.Union(
        [
          Type.String({
            ...ExpressionText("An expression that gives a list, or a whole number n for the items 0 to n-1."),
            title: "an expression",
          }),
          Type.Integer({
            minimum: 0,
            maximum: MAX_ITEMS,
            title: "a whole number",
            description: "So many items: 0 to n-1.",
          }),
          Call("A function that lists the items: it is called with a cursor, and answers {items, cursor}."),
        ],
        {
          title: "an expression, a whole number, or an object with the name of a function",
          description: "The entry is done once for each item of it.",
        },
      ),
    ),
    concurrency: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_CONCURRENCY,
        description: `How many items are under way at a time. Default: ${DEFAULT_CONCURRENCY}.`,
      }),
    ),
    tolerate: Type.Optional(
      Type.Union(
        [
          Type.Integer({ minimum: 0, maximum: MAX_ITEMS, title: "a count" }),
          Type.String({ pattern: PERCENT_PATTERN, title: 'a share such as "5%"' }),
        ],
        {
          description: 'How many items may fail, as a count or as a share ("5%"). Default: 0.',
        },
      ),
    ),
    slice: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_LISTED_ITEMS,
        description: "Items are handed over in lists of up to so many.",
      }),
    ),
    results: Type.Optional(
      Type.Union([Type.Literal("keep"), Type.Literal("none")], {
        description: "Whether the result of the entry has those of its items. Default: keep.",
      }),
    ),
    context: Type.Optional(
      Type.Boolean({
        description: "Whether each item is handed the data of the job and the results of entries, too. Default: false.",
      }),
    ),
    undo: Type.Optional(
      NameOrCall(
        "What undoes the entry when the job fails or is cancelled after it: the name of a function, or more of it.",
        "The function that undoes the entry.",
      ),
    ),
  },
  { ...strict, description: "Exactly one of name, wait_for, sleep_ms, sleep_until and job; all else are options." },
);
export type FunctionSpec = Static<typeof FunctionSpec>;

export const Submission = Type.Object(
  {
    job_id: Type.Optional(
      Type.String({ pattern: PATTERNS.jobId, description: "An id of your own: the same again is the same job." }),
    ),
    name: Type.String({ minLength: 1, maxLength: 256, description: "What the job is called." }),
    functions: Type.Array(FunctionSpec, {
      minItems: 1,
      maxItems: MAX_FUNCTIONS,
      description: "What is to be done. Left out: what the definition of its name says.",
    }),
    data: Type.Optional(Type.Unknown({ description: "Any value. All functions are sent it." })),
    notify: Type.Optional(Word("Who is told of its end, on subject job.notify.<notify>.")),
    timeout_ms: Type.Optional(
      Duration(
        1,
        "The most time from the start of the job (scheduled_at, else when a supervisor takes it) to its end.",
      ),
    ),
    scheduled_at: Type.Optional(
      DateTime("Not before this time, at most ten years ahead: ISO 8601 with a time zone, e.g. 2026-11-23T21:00:00Z."),
    ),
    tags: Type.Optional(
      Type.Record(
        Type.String({ pattern: PATTERNS.tagName }),
        Type.String({ minLength: 1, maxLength: MAX_TAG_LENGTH }),
        { ...strict, maxProperties: MAX_TAGS, description: "Short texts by name, by which jobs are found in lists." },
      ),
    ),
    keep_ms: Type.Optional(Duration(1, "How long it is kept once it has ended, at most.")),
    warn_after_ms: Type.Optional(Duration(1, "It is told of as late if it has not ended so long after its start.")),
    on_failure: Type.Optional(
      NameOrCall(
        "What is called once the job has failed, after what was done is undone.",
        "The function that is called.",
      ),
    ),
  },
  strict,
);
export type Submission = Static<typeof Submission>;

/** The document of a child job: what only the outermost one can say is missing, and its name may be left out. */
export const Child = Type.Object(
  {
    ...Type.Omit(Submission, ["job_id", "notify", "scheduled_at"]).properties,
    name: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 256,
        description: "What the job is called. Default: the name of its parent, and the id or index of the entry.",
      }),
    ),
    data: Type.Optional(
      Type.Unknown({
        description:
          "Any value, of which expressions are evaluated here. Default: the data of the parent; under for_each, the item.",
      }),
    ),
  },
  strict,
);
/** A submission whose entries are functions that follow each other, as those of most are. */
export const Chain = Type.Object(
  {
    ...Submission.properties,
    functions: Type.Array(
      Type.Object(
        { ...Type.Pick(FunctionSpec, ["args", "retry_options", "timeout_ms"]).properties, name: FunctionName("") },
        strict,
      ),
      { minItems: 1, maxItems: MAX_FUNCTIONS },
    ),
  },
  strict,
);

export type Chain = Static<typeof Chain>;

/** A job as users write it. */
export type JobDocument = Submission;
