/** Measures some of the dimensions, one after the other, each on servers of its own. */
import type { Machine } from "../machine.ts";
import type { Progress } from "../progress.ts";
import { Scope } from "../scope.ts";
import type { Table } from "../table.ts";
import type { Dimension, DimensionResult } from "./dimension.ts";
import { DIMENSIONS } from "./dimensions/index.ts";
import { mergeResults, readResults, writeResults } from "./results.ts";

export interface ScaleOptions {
  dimensions: readonly Dimension[];
  quick: boolean;
  /** Where the results are kept, with those of other dimensions; undefined to keep none. */
  folder: string | undefined;
  machine: Machine;
  progress: Progress;
  scope: Scope;
  /** Told of the tables of a dimension when they are there. */
  onTables?: (tables: readonly Table[]) => void;
}

/** Returns all tables. What is done is kept even if a later dimension fails. @throws WrongResults */
export async function measureScale(options: ScaleOptions): Promise<Table[]> {
  const { dimensions, folder, onTables = () => {} } = options;
  const tables: Table[] = [];
  for (const dimension of dimensions) {
    const result = await measureOne(dimension, options);
    tables.push(...result.tables);
    onTables(result.tables);
    if (folder === undefined) continue;
    const names = DIMENSIONS.map(({ name }) => name);
    await writeResults(folder, mergeResults(await readResults(folder), [result], names));
  }
  return tables;
}

async function measureOne(dimension: Dimension, options: ScaleOptions): Promise<DimensionResult> {
  const { quick, machine, progress } = options;
  const { name, question } = dimension;
  const scope = new Scope();
  await options.scope.add(() => scope.close());
  const begun = performance.now();
  try {
    const findings = await dimension.measure({ quick, progress, scope });
    const seconds = Math.round((performance.now() - begun) / 1_000);
    return { name, question, date: new Date().toISOString(), seconds, quick, machine, ...findings };
  } finally {
    await scope.close();
  }
}
