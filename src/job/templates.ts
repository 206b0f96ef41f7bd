/** Placeholder of the helper's file: replaced at the merge. */
export function hasExpressions(args: unknown): boolean {
  if (typeof args !== "object" || args === null) return false;
  if (Array.isArray(args)) return args.some(hasExpressions);
  const entries = Object.entries(args);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === "$" && typeof first[1] === "string") return true;
  return entries.some(([, value]) => hasExpressions(value));
}

export function expressionsIn(value: unknown, path = ""): { path: string; text: string }[] {
  if (typeof value !== "object" || value === null) return [];
  const entries = Object.entries(value);
  const [first] = entries;
  if (!Array.isArray(value) && entries.length === 1 && first?.[0] === "$" && typeof first[1] === "string") {
    return [{ path, text: first[1] }];
  }
  return entries.flatMap(([key, one]) => expressionsIn(one, `${path}/${key}`));
}

export function templateProblem(value: unknown): string | undefined {
  const count = expressionsIn(value).length;
  return count > 100 ? `has ${count} expressions` : undefined;
}
