/**
 * The library for expressions (CEL), set up for jobs. It is loaded at the first use, as most jobs have no expressions and loading
 * takes 40 ms; synchronously, as the machine that evaluates is synchronous.
 *
 * Numbers. Those of JSON are doubles, whole literals (`2`) and sizes are ints. Ints among themselves count as CEL says
 * (`5 / 2` is 2). Where a number of JSON, or a literal with a point, takes part, it is JavaScript's arithmetic (`data.five / 2`
 * is 2.5).
 * A division by zero is an error wherever data takes part.
 */
import { createRequire } from "node:module";
import type { Environment, Optional } from "@marcbachmann/cel-js";
import type { Duration, UnsignedInt } from "@marcbachmann/cel-js/evaluator";
import { EvaluationProblem } from "./expression-error.ts";
import { Work } from "./expression-work.ts";

export const MAX_NODES = 200;
export const MAX_DEPTH = 24;

/** All names that expressions can know. */
export const ROOTS = ["data", "results", "errors", "skipped", "result", "error", "item", "item_index", "job"] as const;
export type Root = (typeof ROOTS)[number];

export interface Library {
  /** Reads and checks what users write. */
  readonly written: Environment;
  /** Evaluates what has been made of it: it has the functions that count the work. */
  readonly compiled: Environment;
  /** What they count in. Evaluating is synchronous and nothing evaluates within it, so one is enough. */
  readonly work: Work;
  readonly Optional: typeof Optional;
  readonly Duration: typeof Duration;
  readonly UnsignedInt: typeof UnsignedInt;
}

/**
 * State of a module, which we have nowhere else: which modules are loaded is state of the process anyway, setting this one up
 * takes long, and what it is does not depend on who asks for it first.
 */
let library: Library | undefined;

export function loadLibrary(): Library {
  library ??= load();
  return library;
}

function load(): Library {
  const require = createRequire(import.meta.url);
  const cel: typeof import("@marcbachmann/cel-js") = require("@marcbachmann/cel-js");
  const evaluator: typeof import("@marcbachmann/cel-js/evaluator") = require("@marcbachmann/cel-js/evaluator");
  const options = { enableOptionalTypes: true, homogeneousAggregateLiterals: false };
  const limits = { maxAstNodes: MAX_NODES, maxDepth: MAX_DEPTH };
  const written = withNumbers(new cel.Environment({ ...options, limits }));
  const compiled = withNumbers(new cel.Environment(options));
  const work = new Work();
  addGuards(compiled, work);
  const { Duration, UnsignedInt } = evaluator;
  return { written, compiled, work, Optional: cel.Optional, Duration, UnsignedInt };
}

function withNumbers(environment: Environment): Environment {
  for (const name of ROOTS) environment.registerVariable(name, "dyn");
  const operators: [string, (a: number, b: number) => number][] = [
    ["+", (a, b) => a + b],
    ["-", (a, b) => a - b],
    ["*", (a, b) => a * b],
    ["/", (a, b) => a / nonZero(b)],
    ["%", (a, b) => a % nonZero(b)],
  ];
  for (const [operator, calculate] of operators) {
    // An int that takes part is a bigint.
    const handler = (a: number | bigint, b: number | bigint) => calculate(Number(a), Number(b));
    environment.registerOperator(`int ${operator} double: double`, handler);
    environment.registerOperator(`double ${operator} int: double`, handler);
  }
  environment.registerOperator("double % double: double", (a: number, b: number) => a % nonZero(b));
  // The library has `double / double`, which gives Infinity. What comes from data is `dyn<double>`, and an exact match wins.
  environment.registerOperator("dyn<double> / dyn<double>: double", (a: number, b: number) => a / nonZero(b));
  environment.registerOperator("int == double", (a: bigint, b: number) => Number(a) === b);
  return environment;
}

function nonZero(divisor: number): number {
  if (divisor === 0) throw new EvaluationProblem("division by zero");
  return divisor;
}

/** The functions that the compiler puts around what takes longer for larger values. Each returns what it is given. */
function addGuards(environment: Environment, work: Work): void {
  const guards: Record<string, (value: unknown) => unknown> = {
    text: (value) => work.text(value),
    search: (value) => work.search(value),
    needle: (value) => work.needle(value),
    duration: (value) => work.duration(value),
    zone: (value) => work.timeZone(value),
    flat: (value) => work.flat(value),
    deep: (value) => work.deep(value),
    within: (value) => work.within(value),
    joined: (value) => work.joined(value),
  };
  for (const [name, guard] of Object.entries(guards)) {
    environment.registerFunction(`_${name}(dyn): dyn`, guard, { async: false });
  }
  const each = (value: unknown, steps: bigint) => work.each(value, steps);
  environment.registerFunction("_each(dyn, int): dyn", each, { async: false });
}
