/** All scenarios, in the order in which `all` runs them: short ones first, and each on a server that is new. */
import type { Scenario } from "../scenario.ts";
import { backlog } from "./backlog.ts";
import { chain } from "./chain.ts";
import { children } from "./children.ts";
import { diamond } from "./diamond.ts";
import { fan } from "./fan.ts";
import { fanout } from "./fanout.ts";
import { floor } from "./floor.ts";
import { graphSize } from "./graph-size.ts";
import { http } from "./http.ts";
import { idle } from "./idle.ts";
import { items } from "./items.ts";
import { itemsSize } from "./items-size.ts";
import { latency } from "./latency.ts";
import { parked } from "./parked.ts";
import { recovery } from "./recovery.ts";
import { single } from "./single.ts";
import { soak } from "./soak.ts";
import { submit } from "./submit.ts";
import { undo } from "./undo.ts";

export const SCENARIOS: readonly Scenario[] = [
  floor,
  submit,
  single,
  chain,
  diamond,
  graphSize,
  items,
  itemsSize,
  children,
  undo,
  fan,
  fanout,
  latency,
  http,
  idle,
  recovery,
  soak,
  backlog,
  parked,
];
