/** All scenarios, in the order in which `all` runs them: short ones first, and each on a server that is new. */
import type { Scenario } from "../scenario.ts";
import { chain } from "./chain.ts";
import { floor } from "./floor.ts";
import { latency } from "./latency.ts";
import { single } from "./single.ts";
import { submit } from "./submit.ts";

export const SCENARIOS: readonly Scenario[] = [floor, submit, single, chain, latency];
