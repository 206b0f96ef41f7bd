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

/** A result that was stored besides its job is asked for, and cannot be had: it is not there any more, or too much. */
export class LostValue extends Error {
  readonly code: "corrupt_state" | "payload_too_large";

  /** @param tooMany how many bytes it has, and may have, where these are too many */
  constructor(index: number, tooMany?: { bytes: number; most: number }) {
    super(
      tooMany
        ? `the result of entry ${index} has ${tooMany.bytes} bytes, and at most ${tooMany.most} can be had together; read its items in pages, or let them return less`
        : `the result of entry ${index} was stored besides the job, and is gone: somebody has removed or replaced it`,
    );
    this.name = "LostValue";
    this.code = tooMany ? "payload_too_large" : "corrupt_state";
  }
}

/** @throws what is thrown, if it is no fault of an expression, or of what it is evaluated over */
export function expressionFailure(error: unknown): Failure {
  if (error instanceof LostValue) return { code: error.code, name: "LostResult", message: error.message };
  if (!(error instanceof ExpressionError)) throw error;
  return { code: "expression_error", name: "ExpressionError", message: error.message };
}
