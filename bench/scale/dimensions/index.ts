import type { Dimension } from "../dimension.ts";
import { functions } from "./functions.ts";
import { payload } from "./payload.ts";
import { processes } from "./processes.ts";
import { stored } from "./stored.ts";
import { waiting } from "./waiting.ts";

/** In the order in which they are measured and shown. */
export const DIMENSIONS: readonly Dimension[] = [stored, waiting, functions, processes, payload];
