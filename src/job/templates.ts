/** Placeholder of the helper's file: replaced at the merge. */
export function hasExpressions(args: unknown): boolean {
  if (typeof args !== "object" || args === null) return false;
  if (Array.isArray(args)) return args.some(hasExpressions);
  const entries = Object.entries(args);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === "$" && typeof first[1] === "string") return true;
  return entries.some(([, value]) => hasExpressions(value));
}
export function fill(args: unknown, _evaluate: (text: string) => unknown): unknown {
  return args;
}
