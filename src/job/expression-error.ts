/** An expression that cannot be evaluated. */
import type { Failure } from "./failure.ts";

/**
 * Its message holds the expression, and the type of what it failed on, but never a value: it is stored, logged and shown to
 * those who may not see the data.
 */
export class ExpressionError extends Error {
  /** The expression. */
  readonly text: string;
  /** What is wrong, without the expression. */
  readonly reason: string;

  constructor(text: string, reason: string) {
    super(`expression ${JSON.stringify(text.slice(0, 1_024))}: ${reason}`);
    this.name = "ExpressionError";
    this.text = text;
    this.reason = reason;
  }
}

/** What is wrong, before it is known with which expression. */
export class EvaluationProblem extends Error {}

/** A result that was stored besides its job is asked for, and is not there any more. */
export class LostValue extends Error {
  constructor(index: number) {
    super(`the result of entry ${index} was stored besides the job, and is gone: somebody has removed or replaced it`);
    this.name = "LostValue";
  }
}

/** @throws what is thrown, if it is no fault of an expression, or of what it is evaluated over */
export function expressionFailure(error: unknown): Failure {
  if (error instanceof LostValue) return { code: "corrupt_state", name: "LostResult", message: error.message };
  if (!(error instanceof ExpressionError)) throw error;
  return { code: "expression_error", name: "ExpressionError", message: error.message };
}
