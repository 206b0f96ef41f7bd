/** What is kept of the measurements: scale.json with one entry for each dimension, the plots, and a page of it all. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DimensionResult } from "./dimension.ts";
import { renderPage } from "./page.ts";
import { renderPlot } from "./plot.ts";

const FILE = "scale.json";
const PAGE = "README.md";

/** The results with those of some dimensions put in place of their older ones, in the order of `names`. */
export function mergeResults(
  older: readonly DimensionResult[],
  newer: readonly DimensionResult[],
  names: readonly string[],
): DimensionResult[] {
  const byName = new Map([...older, ...newer].map((one) => [one.name, one]));
  return names.flatMap((name) => byName.get(name) ?? []);
}

/** @throws Error if the file is there and cannot be read as what it was written as */
export async function readResults(folder: string): Promise<DimensionResult[]> {
  try {
    const { dimensions } = JSON.parse(await readFile(join(folder, FILE), "utf8")) as { dimensions: DimensionResult[] };
    return dimensions;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

export async function writeResults(folder: string, dimensions: readonly DimensionResult[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const plot of dimensions.flatMap(({ plots }) => plots)) {
    await writeFile(join(folder, `${plot.file}.svg`), renderPlot(plot));
  }
  await writeFile(join(folder, FILE), `${JSON.stringify({ dimensions }, null, 1)}\n`);
  await writeFile(join(folder, PAGE), renderPage(dimensions));
}
