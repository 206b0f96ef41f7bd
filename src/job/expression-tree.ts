/** The syntax tree of an expression, as the library's parser makes it: what the check and the compiler ask of it. */
import type { ASTNode } from "@marcbachmann/cel-js";

export type Node = ASTNode;

/** `data.a["b"].?c`: a name, and keys that are known before anything is evaluated. */
export interface Chain {
  root: string;
  keys: string[];
}

export function chainOf(node: Node): Chain | undefined {
  const keys: string[] = [];
  for (let at = node; ; ) {
    if (at.op === "id") return { root: at.args, keys: keys.reverse() };
    if (at.op === "." || at.op === ".?") {
      keys.push(at.args[1]);
    } else if (at.op === "[]" || at.op === "[?]") {
      const key = at.args[1];
      if (key.op !== "value" || typeof key.args !== "string") return undefined;
      keys.push(key.args);
    } else {
      return undefined;
    }
    at = at.args[0];
  }
}

/** `list.map(x, …)`: what is gone through, the name for an element, and what is evaluated for each. */
export interface Loop {
  macro: string;
  list: Node;
  variable: string;
  bodies: Node[];
}

/** Macros that evaluate their arguments for each element. */
const LOOPS = new Map([
  ["all", [2]],
  ["exists", [2]],
  ["exists_one", [2]],
  ["filter", [2]],
  ["map", [2, 3]],
]);

export function loopOf(node: Node): Loop | undefined {
  if (node.op !== "rcall") return undefined;
  const [macro, list, [variable, ...bodies]] = node.args;
  if (variable?.op !== "id" || !LOOPS.get(macro)?.includes(bodies.length + 1)) return undefined;
  return { macro, list, variable: variable.args, bodies };
}

export function childrenOf(node: Node): readonly Node[] {
  switch (node.op) {
    case "value":
    case "id":
      return [];
    case ".":
    case ".?":
      return [node.args[0]];
    case "call":
      return node.args[1];
    case "rcall":
      return [node.args[1], ...node.args[2]];
    case "map":
      return node.args.flat();
    case "!_":
    case "-_":
      return [node.args];
    default:
      return node.args;
  }
}
