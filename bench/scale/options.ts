/** What may be asked of the scale measurements. */
import { parseArgs } from "node:util";
import { messageOf } from "../../src/job/errors.ts";
import { UsageError } from "../options.ts";
import type { Dimension } from "./dimension.ts";
import { DIMENSIONS } from "./dimensions/index.ts";

/** Not one of the scenarios: it has servers of its own, keeps what it finds, and takes other options. */
export const SCALE = "scale";

export interface AskedOfScale {
  dimensions: readonly Dimension[];
  quick: boolean;
  folder: string | undefined;
}

/** What the quick form finds is kept only where it is told to. */
const FOLDER = "bench/results";

/** @throws UsageError */
export function askedOf(args: string[]): AskedOfScale {
  const values = parsed(args);
  const names = DIMENSIONS.map(({ name }) => name);
  const unknown = values.dimension.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new UsageError(`--dimension must be one of ${names.join(", ")}, not "${unknown}"`);
  const chosen = DIMENSIONS.filter(({ name }) => values.dimension.length === 0 || values.dimension.includes(name));
  return { dimensions: chosen, quick: values.quick, folder: values.out ?? (values.quick ? undefined : FOLDER) };
}

function parsed(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        dimension: { type: "string", multiple: true, default: [] },
        quick: { type: "boolean", default: false },
        out: { type: "string" },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
