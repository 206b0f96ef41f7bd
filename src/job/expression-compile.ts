/**
 * Makes of an expression what is evaluated: the same with functions around whatever takes longer for larger values (see
 * `expression-work.ts`), and which parts of the values it reads. So only these are made ready for it, not all of a job's data.
 *
 * Example: `data.items.filter(i, i.tag in data.tags)` reads `data.items` and `data.tags`, and becomes
 * `_each(data.items, 6).filter(i, (_deep(i.tag) in _within(data.tags)))`.
 */
import type { ParseResult } from "@marcbachmann/cel-js";
import { FUNCTIONS, type Guard } from "./expression-functions.ts";
import type { Library } from "./expression-library.ts";
import { type Chain, chainOf, childrenOf, type Loop, loopOf, type Node } from "./expression-tree.ts";

/** What is read of a value: all of it, or some of its fields. */
export interface Reads {
  whole: boolean;
  fields: Map<string, Reads>;
}

export interface Program {
  run: ParseResult;
  /** By name: `data`, `results` … */
  reads: Map<string, Reads>;
  /** If the expression is nothing but a path: its value is handed on as it is. */
  path: Chain | undefined;
}

export function compile(tree: Node, library: Library): Program {
  const reads: Reads = { whole: false, fields: new Map() };
  noteReads(tree, reads);
  const hasOptional = (node: Node): boolean =>
    node.op === ".?" || node.op === "[?]" || childrenOf(node).some(hasOptional);
  const path = hasOptional(tree) ? undefined : chainOf(tree);
  return { run: library.compiled.parse(emit(tree)), reads: reads.fields, path };
}

/** Also notes the variables of macros, under whose names there are no values. */
function noteReads(node: Node, all: Reads): void {
  const chain = chainOf(node);
  if (!chain) {
    for (const child of childrenOf(node)) noteReads(child, all);
    return;
  }
  let at = all;
  for (const key of [chain.root, ...chain.keys]) {
    const next = at.fields.get(key) ?? { whole: false, fields: new Map() };
    at.fields.set(key, next);
    at = next;
  }
  at.whole = true;
}

function emit(node: Node): string {
  switch (node.op) {
    case "value":
      return literal(node.args);
    case "id":
      return node.args;
    case ".":
    case ".?":
      return `${emit(node.args[0])}${node.op}${node.args[1]}`;
    case "[]":
    case "[?]":
      return `${emit(node.args[0])}${node.op.slice(0, -1)}${emit(node.args[1])}]`;
    case "call":
      return `${node.args[0]}(${operands(node.args[0], node.args[1])})`;
    case "rcall":
      return emitMethod(node);
    case "list":
      return `[${node.args.map(emit).join(", ")}]`;
    case "map":
      return `{${node.args.map(([key, value]) => `${emit(key)}: ${emit(value)}`).join(", ")}}`;
    case "?:":
      return `(${emit(node.args[0])} ? ${emit(node.args[1])} : ${emit(node.args[2])})`;
    case "!_":
    case "-_":
      return `(${node.op[0]}${emit(node.args)})`;
    default:
      return emitOperator(node.op, node.args[0], node.args[1]);
  }
}

function emitMethod(node: Extract<Node, { op: "rcall" }>): string {
  const [name, receiver, args] = node.args;
  const loop = loopOf(node);
  if (!loop) {
    return `${guarded(FUNCTIONS.get(name)?.receiver ?? "none", receiver)}.${name}(${operands(name, args)})`;
  }
  return `_each(${emit(loop.list)}, ${stepsOf(loop, node)}).${name}(${args.map(emit).join(", ")})`;
}

/** The steps of one turn: a node is one. Where an error can be caught, those that making one takes are added. */
function stepsOf({ macro, bodies }: Loop, node: Node): number {
  const caught = 16 + Math.ceil(node.input.length / 32);
  const steps = (one: Node): number => {
    const own = one.op === "||" || one.op === "&&" ? 1 + caught : 1;
    return childrenOf(one).reduce((sum, child) => sum + steps(child), own);
  };
  const own = macro === "all" || macro === "exists" ? 1 + caught : 1;
  return bodies.reduce((sum, body) => sum + steps(body), own);
}

function operands(name: string, args: Node[]): string {
  return args.map((arg) => guarded(FUNCTIONS.get(name)?.args ?? "none", arg)).join(", ");
}

function emitOperator(operator: string, left: Node, right: Node): string {
  switch (operator) {
    case "+":
      return `(${guarded("flat", left)} + ${guarded("flat", right)})`;
    case "in":
      return `(${guarded("deep", left)} in ${guarded("within", right)})`;
    case "==":
    case "!=": {
      // Comparing with `null`, `1` or `[]` takes no longer for what is large.
      const guard = isSmall(left) || isSmall(right) ? "none" : "deep";
      return `(${guarded(guard, left)} ${operator} ${guarded(guard, right)})`;
    }
    case "<":
    case "<=":
    case ">":
    case ">=":
      return `(${guarded("text", left)} ${operator} ${guarded("text", right)})`;
    default:
      return `(${emit(left)} ${operator} ${emit(right)})`;
  }
}

function guarded(guard: Guard | "deep" | "within", node: Node): string {
  return guard === "none" || (node.op === "value" && guard !== "zone") ? emit(node) : `_${guard}(${emit(node)})`;
}

function isSmall(node: Node): boolean {
  return node.op === "value" || ((node.op === "list" || node.op === "map") && node.args.length === 0);
}

type Literal = Extract<Node, { op: "value" }>["args"];

function literal(value: Literal): string {
  // What JSON escapes, CEL reads: expressions have no halves of characters.
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") return /[.e]/.test(String(value)) ? String(value) : `${value}.0`;
  if (typeof value === "object" && value !== null) return `${value}u`;
  return String(value);
}
