export interface Values { data?: unknown; results?: Record<string, unknown>; errors?: Record<string, unknown>; skipped?: Record<string, boolean>; result?: unknown; error?: unknown; job?: unknown }
export class ExpressionError extends Error {}
export class Expressions {
  evaluate(_text: string, _values: Values): unknown { throw new ExpressionError("placeholder"); }
  evaluateCondition(_text: string, _values: Values): boolean { throw new ExpressionError("placeholder"); }
}
