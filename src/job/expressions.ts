/**
 * Expressions in jobs: a text in CEL (https://cel.dev) that is checked when a job is submitted, and evaluated over what the job
 * knows by then. They are data, not code: they reach nothing but the values they are given, and the work of one is limited.
 * Where they stand in a document is not decided here (see `templates.ts`).
 *
 * Example: `new Expressions().evaluate("data.total * 2", { data: { total: 21 } })` gives 42.
 *
 * What they mean beside CEL: see `expression-library.ts` for numbers, `expression-values.ts` for what goes in and comes out.
 */
import { checkExpression, isCelError, type Scope } from "./expression-check.ts";
import { compile, type Program, type Reads } from "./expression-compile.ts";
import { EvaluationProblem, ExpressionError } from "./expression-error.ts";
import { type Library, loadLibrary, ROOTS, type Root } from "./expression-library.ts";
import type { Chain } from "./expression-tree.ts";
import { intoExpression, isPlain, outOfExpression, typeName } from "./expression-values.ts";
import { isRecord } from "./plain.ts";

export type { Scope } from "./expression-check.ts";
export { ExpressionError, expressionFailure } from "./expression-error.ts";
export type { Root } from "./expression-library.ts";

/** What an expression is evaluated over. What is not given is null; `results`, `errors`, `skipped` are by the id of an entry. */
export interface Values {
  data?: unknown;
  results?: Record<string, unknown>;
  /** Of those entries only that have one, so that `has(errors.charge)` says whether there is one. */
  errors?: Record<string, unknown>;
  /** An entry that is not in it was not skipped. */
  skipped?: Record<string, boolean>;
  result?: unknown;
  error?: unknown;
  item?: unknown;
  item_index?: number;
  job?: unknown;
}

/** What an expression must give, by where it stands: the types that may turn out to be that, and words for it. */
const MUST_GIVE = {
  condition: { types: ["bool"], words: "true or false" },
  items: { types: ["list", "int", "uint", "double"], words: "a list or a whole number" },
  job: { types: ["map"], words: "a job" },
} as const;

/**
 * What is wrong with an expression that is submitted; undefined if nothing is. Never throws.
 *
 * @param kind what it must give: one that certainly gives something else is refused
 */
export function expressionProblem(text: string, scope: Scope, kind?: keyof typeof MUST_GIVE): string | undefined {
  const checked = checkExpression(text, scope, loadLibrary());
  if (typeof checked === "string") return checked;
  if (kind === undefined) return undefined;
  const { types, words } = MUST_GIVE[kind];
  const mayBe = ["dyn", ...types].some((type) => checked.type === type || checked.type.startsWith(`${type}<`));
  return mayBe ? undefined : `must give ${words}, and gives ${article(checked.type)}`;
}

/** Evaluates once. Who evaluates a text again keeps an `Expressions`. @throws ExpressionError */
export function evaluate(text: string, values: Values): unknown {
  return new Expressions().evaluate(text, values);
}

/** @throws ExpressionError also if it gives anything but true or false */
export function evaluateCondition(text: string, values: Values): boolean {
  return new Expressions().evaluateCondition(text, values);
}

/** As long as a job is in memory it has few texts; the limit is for who keeps one longer. */
const MAX_PROGRAMS = 200;
/** A program keeps some of the values that it has looked at last. One that has looked at more than this is compiled again. */
const MAX_STEPS_KEPT = 10_000;

/**
 * Of all evaluations of a job while it is in memory, by and large: a job of a thousand entries with a large condition each would keep
 * its supervisor from all other jobs. So many take a second or two.
 */
const MAX_STEPS_OF_JOB = 20_000_000;

/** Evaluates expressions, and keeps what it has compiled: the first evaluation of a text takes some 0.05 ms, others 1 µs. */
export class Expressions {
  readonly #programs = new Map<string, Program>();
  #spent = 0;

  /**
   * The result as JSON has it (bytes of a MessagePack job stay bytes). The values are not changed.
   *
   * @throws ExpressionError which says the type of what it failed on, and no value
   */
  evaluate(text: string, values: Values): unknown {
    if (this.#spent > MAX_STEPS_OF_JOB) {
      throw new ExpressionError(text, `the expressions of the job take more than ${MAX_STEPS_OF_JOB} steps together`);
    }
    const library = loadLibrary();
    const program = this.#program(text, library);
    library.work.begin();
    try {
      const result = program.path ? valueAt(program.path, values) : run(program, values, library);
      return outOfExpression(result, library);
    } catch (error) {
      throw new ExpressionError(text, reasonOf(error));
    } finally {
      this.#spent += library.work.spent;
      if (library.work.spent > MAX_STEPS_KEPT) this.#programs.delete(text);
    }
  }

  /** @throws ExpressionError also if it gives anything but true or false */
  evaluateCondition(text: string, values: Values): boolean {
    const result = this.evaluate(text, values);
    if (typeof result === "boolean") return result;
    // By now ints are numbers too.
    const type = typeof result === "number" ? "number" : typeName(result);
    throw new ExpressionError(text, `must give true or false, and gives ${article(type)}`);
  }

  #program(text: string, library: Library): Program {
    const known = this.#programs.get(text);
    if (known) return known;
    const checked = checkExpression(text, EVERYTHING, library);
    if (typeof checked === "string") throw new ExpressionError(String(text), checked);
    const program = compile(checked.tree, library);
    if (this.#programs.size >= MAX_PROGRAMS) {
      const [oldest] = this.#programs.keys();
      if (oldest !== undefined) this.#programs.delete(oldest);
    }
    this.#programs.set(text, program);
    return program;
  }
}

/** What may be named where, was checked when the job was submitted. */
const EVERYTHING: Scope = { names: new Set(ROOTS), entries: () => "ended", ids: () => [] };

function run(program: Program, values: Values, library: Library): unknown {
  const { work } = library;
  const context = new Map<string, unknown>();
  for (const name of ROOTS) {
    const reads = program.reads.get(name);
    if (reads) context.set(name, intoExpression(valueNamed(name, values, reads), work, reads));
  }
  // Errors that an expression catches (`a || b`, `exists`) are made for each element, and a stack is most of their cost.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    const result: unknown = program.run(context);
    work.require();
    return result;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function valueNamed(name: Root, values: Values, reads: Reads): unknown {
  if (name === "skipped") {
    const isSkipped = (id: string) => Object.hasOwn(values.skipped ?? {}, id) && values.skipped?.[id] === true;
    return Object.fromEntries([...reads.fields.keys()].map((id) => [id, isSkipped(id)]));
  }
  return values[name] ?? (name === "results" || name === "errors" ? {} : null);
}

/** @throws EvaluationProblem if there is nothing at that path */
function valueAt({ root, keys }: Chain, values: Values): unknown {
  const reads: Reads = {
    whole: false,
    fields: new Map(keys.slice(0, 1).map((key) => [key, { whole: true, fields: new Map() }])),
  };
  let value: unknown = ROOTS.some((name) => name === root) ? valueNamed(root as Root, values, reads) : undefined;
  for (const key of keys) {
    const inner: unknown = isPlain(value) && key !== "__proto__" && Object.hasOwn(value, key) ? value[key] : undefined;
    if (inner === undefined) throw new EvaluationProblem(noKey(key, value));
    value = inner;
  }
  return value;
}

function noKey(key: string, value: unknown): string {
  const type = typeName(value);
  return type === "map" ? `there is no key \`${key}\`` : `there is no key \`${key}\` in ${article(type)}`;
}

/** Errors of the library whose words hold types, and names that stand in the expression, but nothing of the values. */
const WITHOUT_VALUES = new Set([
  "no_such_overload",
  "no_matching_overload",
  "invalid_condition_type",
  "invalid_logical_operand",
  "invalid_comprehension_range",
  "division_by_zero",
  "modulo_by_zero",
  "optional_expected",
  "optional_value_missing",
]);

/** Those whose words hold values, in ours. */
const IN_OUR_WORDS: Record<string, string> = {
  index_out_of_bounds: "the index is outside of the list",
  index_out_of_range: "the index is outside of the string",
  numeric_overflow: "an int is beyond 64 bits",
  bool_conversion_error: "bool(…) cannot read that string",
  int_conversion_error: "int(…) cannot read that string",
  uint_conversion_error: "uint(…) cannot read that value",
  double_conversion_error: "double(…) cannot read that string",
  invalid_timestamp: "timestamp(…) takes ISO 8601 text with a time zone, or seconds since 1970 as an int",
  invalid_duration: 'duration(…) takes text such as "1h30m" or "250ms"',
  invalid_list_element_type: "join(…) takes a list of strings",
};

/** Without any value: what the library says may hold some, so only what is known to hold none is repeated. */
function reasonOf(error: unknown): string {
  if (error instanceof EvaluationProblem) return error.message;
  if (!isCelError(error)) return "it cannot be evaluated over these values";
  const { code, summary } = error;
  if (code === "no_such_key") return keyProblem(error);
  if (!WITHOUT_VALUES.has(code)) return IN_OUR_WORDS[code] ?? `it cannot be evaluated over these values (${code})`;
  return withHint(code, plainTypes(summary));
}

/** The key, if it stands in the expression and does not come from the values. */
function keyProblem(error: Error): string {
  const node = "node" in error && isRecord(error.node) ? error.node : {};
  const key: unknown = (node.op === "." || node.op === ".?") && Array.isArray(node.args) ? node.args[1] : undefined;
  return typeof key === "string" ? `there is no key \`${key}\`` : "there is no such key";
}

/** `dyn<string> + dyn<map<dyn, dyn>>` → `string + map`; the guards of the compiler are no functions that users know. */
function plainTypes(summary: string): string {
  let types = summary;
  for (let before = ""; before !== types; ) {
    before = types;
    types = types.replace(/\bdyn<([^<>]*)>/g, "$1").replace(/\b(map|list|optional)<[^<>]*>/g, "$1");
  }
  return types;
}

function withHint(code: string, summary: string): string {
  if (code === "no_matching_overload" && /\bdouble\b/.test(summary)) {
    return `${summary}; numbers of JSON are doubles: int(…) makes an int of one`;
  }
  const joins = code === "no_such_overload" && summary.includes(" + ") && summary.includes("string");
  return joins ? `${summary}; string(…) makes text of a value` : summary;
}

function article(type: string): string {
  if (type === "null") return type;
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}
