/** Placeholder of the helper's file: replaced at the merge. */
export type ScopeName = "data" | "results" | "errors" | "skipped" | "result" | "error" | "job";
export interface Scope {
  names: ReadonlySet<ScopeName>;
  entries: (id: string) => "ended" | "not ended" | "unknown";
  ids: () => Iterable<string>;
}
export function expressionProblem(text: string, scope: Scope): string | undefined {
  const id = /results\.([a-z_]+)/.exec(text)?.[1];
  if (text.includes("(") && !text.includes(")")) return "is no expression";
  if (/\bresult\b/.test(text) && !scope.names.has("result")) return "result is not known here";
  if (/\berror\b/.test(text) && !scope.names.has("error")) return "error is not known here";
  if (id === undefined || scope.entries(id) === "ended") return undefined;
  return scope.entries(id) === "unknown" ? `no entry has the id ${id}` : `results.${id} may not have ended by then`;
}

export const conditionProblem = expressionProblem;
