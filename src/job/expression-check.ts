/** What is wrong with an expression before it is evaluated: its size, what it calls, what it names. */
import { nearest } from "../util/nearest.ts";
import { FUNCTIONS, REFUSED } from "./expression-functions.ts";
import { type Library, MAX_DEPTH, MAX_NODES, ROOTS, type Root } from "./expression-library.ts";
import { type Chain, chainOf, childrenOf, type Loop, loopOf, type Node } from "./expression-tree.ts";
import { isRecord } from "./plain.ts";

/** What an expression may name where it stands. */
export interface Scope {
  names: ReadonlySet<Root>;
  /** Whether that entry has certainly ended when the expression is evaluated. */
  entries: (id: string) => "ended" | "not ended" | "unknown";
  /** The ids of all entries, for "did you mean". */
  ids: () => Iterable<string>;
  /** What to do about one that may not have ended, if nothing can be added to `needs`. */
  advice?: (id: string) => string | undefined;
  /** What is to be known of names and entries that are not known here. */
  note?: string;
}

/** Longest text of an expression, in bytes of UTF-8. */
export const MAX_BYTES = 1_024;

const JOB_FIELDS = ["id", "name", "created_at", "scheduled_for"];
const BY_ENTRY: readonly string[] = ["results", "errors", "skipped"] satisfies Root[];
/** They are known in few places, and are what an element of a list is called by most: macros may call theirs so everywhere. */
const FOR_ELEMENTS: readonly string[] = ["item", "item_index"] satisfies Root[];
/** The library leaves these out of a map without a word. */
const LOST_KEYS = new Set(["__proto__", "constructor", "prototype"]);

export interface Checked {
  tree: Node;
  /** As the type check says it: "bool", "int" …, or "dyn" where that depends on data. */
  type: string;
}

/** The checked expression, or what is wrong with it. */
export function checkExpression(text: string, scope: Scope, library: Library): Checked | string {
  if (typeof text !== "string") return "must be text"; // callers may be JavaScript
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_BYTES) return `has ${bytes} bytes; an expression may have at most ${MAX_BYTES}: let a worker do it`;
  if (!text.isWellFormed()) return "has half of a character in it (a lone surrogate)";
  if (text.trim() === "") return "is empty";
  try {
    const parsed = library.written.parse(text);
    const problem = new Check(scope, library, text).problemOf(parsed.ast, new Set(), undefined);
    if (problem !== undefined) return problem;
    const checked = parsed.check();
    if (!checked.valid) return `${libraryProblem(checked.error)}${place(checked.error)}`;
    return { tree: parsed.ast, type: checked.type ?? "dyn" };
  } catch (error) {
    const hint = text.includes("?.") ? "; an optional field is written `.?`" : literalHint(text);
    return `${libraryProblem(error)}${place(error)}${hint}`;
  }
}

/** The library's own words, of an error that it has thrown before there were values. */
function libraryProblem(error: unknown): string {
  const { code, summary } = isCelError(error) ? error : { code: "", summary: undefined };
  if (code === "limit_exceeded") {
    return `is too large: an expression may have at most ${MAX_NODES} nodes and be ${MAX_DEPTH} deep; let a worker do it`;
  }
  return (summary ?? "cannot be read").replace(/\bEOF\b/, "the end");
}

export function isCelError(error: unknown): error is Error & { code: string; summary: string } {
  return error instanceof Error && "summary" in error && typeof error.summary === "string" && "code" in error;
}

function place(error: unknown): string {
  const range = error instanceof Error && "range" in error ? error.range : undefined;
  return isRecord(range) && typeof range.start === "number" ? `, at character ${range.start + 1}` : "";
}

/** For those who wanted a text and forgot its quotes. */
function literalHint(text: string): string {
  const word = text.trim();
  return word.length <= 100 && /^[\p{L}\p{N}][\p{L}\p{N} _./:@-]*$/u.test(word)
    ? `; write "'${word}'" for the text ${word}`
    : "";
}

/** Walks through the tree. `bound`: the variables of macros around; `within`: the macro in whose body the node is. */
class Check {
  readonly #scope: Scope;
  readonly #library: Library;
  readonly #text: string;

  constructor(scope: Scope, library: Library, text: string) {
    this.#scope = scope;
    this.#library = library;
    this.#text = text;
  }

  problemOf(node: Node, bound: ReadonlySet<string>, within: string | undefined): string | undefined {
    const chain = chainOf(node);
    if (chain) return bound.has(chain.root) ? undefined : this.#nameProblem(chain);
    const loop = loopOf(node);
    if (loop) return this.#loopProblem(loop, bound, within);
    const own = this.#nodeProblem(node);
    if (own !== undefined) return own;
    for (const child of childrenOf(node)) {
      const problem = this.problemOf(child, bound, within);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #loopProblem(loop: Loop, bound: ReadonlySet<string>, within: string | undefined): string | undefined {
    const { macro, list, variable, bodies } = loop;
    if (within !== undefined) {
      const nested = `\`${macro}\` stands within \`${within}\``;
      return `${nested}: macros within macros are refused, as they can take very long; let a worker do it`;
    }
    if (this.#library.written.hasVariable(variable) && !FOR_ELEMENTS.includes(variable)) {
      return `\`${variable}\` is the name of something else: choose another one for the elements`;
    }
    const inside = new Set(bound).add(variable);
    let problem = this.problemOf(list, bound, within);
    for (const body of bodies) problem ??= this.problemOf(body, inside, macro);
    return problem;
  }

  #nodeProblem(node: Node): string | undefined {
    if (node.op === "value" && node.args instanceof Uint8Array) return `bytes are refused: ${REFUSED.get("bytes")}`;
    if (node.op === "map") return mapProblem(node.args.map(([key]) => key));
    if (node.op !== "call" && node.op !== "rcall") return undefined;
    const name = node.args[0];
    if (FUNCTIONS.has(name)) return undefined;
    const reason = REFUSED.get(name);
    if (reason !== undefined) return `\`${name}\` is refused: ${reason}`;
    return `there is no function \`${name}\`${didYouMean(name, FUNCTIONS.keys())}`;
  }

  #nameProblem({ root, keys }: Chain): string | undefined {
    const { names } = this.#scope;
    const [key] = keys;
    if (!isRoot(root)) {
      // Types and the like, e.g. `type(data.n) == double`.
      return this.#library.written.hasVariable(root) ? undefined : this.#unknownName(root);
    }
    if (!names.has(root)) return `\`${root}\` is not known here; known: ${[...names].join(", ")}${this.#note}`;
    if (BY_ENTRY.includes(root)) return this.#entryProblem(root, key);
    if (root !== "job" || key === undefined || JOB_FIELDS.includes(key)) return undefined;
    return `there is no \`job.${key}\`${didYouMean(key, JOB_FIELDS)}; a job has ${JOB_FIELDS.join(", ")}`;
  }

  get #note(): string {
    return this.#scope.note === undefined ? "" : ` (${this.#scope.note})`;
  }

  #unknownName(name: string): string {
    const meant = didYouMean(name, this.#scope.names);
    const hint = meant === "" || !this.#text.includes(".") ? literalHint(this.#text) : "";
    return `unknown name \`${name}\`${meant}${hint}`;
  }

  #entryProblem(root: string, id: string | undefined): string | undefined {
    if (id === undefined) return `\`${root}\` must be followed by the id of an entry: \`${root}.<id>\``;
    switch (this.#scope.entries(id)) {
      case "ended":
        return undefined;
      case "not ended":
        return `\`${root}.${id}\` may not have ended by then: ${this.#scope.advice?.(id) ?? "add it to `needs`"}`;
      case "unknown":
        return `\`${root}.${id}\`: no entry has the id \`${id}\`${didYouMean(id, this.#scope.ids())}${this.#note}`;
    }
  }
}

function mapProblem(keys: Node[]): string | undefined {
  const seen = new Set<string>();
  for (const { op, args } of keys) {
    if (op !== "value" || typeof args !== "string") return "a key of a map must be a text in quotes: {'key': …}";
    if (LOST_KEYS.has(args)) return `a map cannot have the key '${args}'`;
    if (seen.has(args)) return `the key '${args}' stands twice in a map`;
    seen.add(args);
  }
  return undefined;
}

function isRoot(name: string): name is Root {
  return (ROOTS as readonly string[]).includes(name);
}

function didYouMean(word: string, candidates: Iterable<string>): string {
  const meant = nearest(word, candidates);
  return meant === undefined ? "" : `: did you mean \`${meant}\`?`;
}
