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

/** @throws what is thrown, if it is no fault of an expression */
export function expressionFailure(error: unknown): Failure {
  if (!(error instanceof ExpressionError)) throw error;
  return { code: "expression_error", name: "ExpressionError", message: error.message };
}
