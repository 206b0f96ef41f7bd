/** What may be asked of the scale measurements. */
import { parseArgs } from "node:util";
import type { Dimension } from "./dimension.ts";
import { DIMENSIONS } from "./dimensions/index.ts";

export interface AskedOfScale {
  dimensions: readonly Dimension[];
  quick: boolean;
  folder: string | undefined;
}

/** What the quick form finds is kept only where it is told to. */
const FOLDER = "bench/results";

/** @throws Error that says what is allowed */
export function askedOf(args: string[]): AskedOfScale {
  const { values } = parseArgs({
    args,
    options: {
      dimension: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      out: { type: "string" },
    },
  });
  const names = DIMENSIONS.map(({ name }) => name);
  const unknown = values.dimension.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`--dimension must be one of ${names.join(", ")}, not "${unknown}"`);
  const chosen = DIMENSIONS.filter(({ name }) => values.dimension.length === 0 || values.dimension.includes(name));
  return { dimensions: chosen, quick: values.quick, folder: values.out ?? (values.quick ? undefined : FOLDER) };
}
