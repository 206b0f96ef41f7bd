/** The items of the entries of one job that have a `for_each`: a runner for each entry whose branch says that they are at it. */
import type { Plan } from "../job/plan.ts";
import type { Graph } from "../job/state.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";
import type { Children } from "./children.ts";

/** What an actor needs of it. */
export interface ItemsOfJob {
  /** To be called after each commit: makes a runner where one is to be, has one stop where it is to, and drops others. */
  tend(job: Graph): void;
  /** Some of it is in flight. */
  readonly inFlight: boolean;
  /** Nothing more begins. */
  drain(): void;
  close(): void;
}

/** Stands in until items are built. */
export class Items implements ItemsOfJob {
  readonly inFlight = false;
  constructor(_context: ActorContext, _host: GraphHost, _plan: Plan, _children: Children) {}
  tend(_job: Graph): void {}
  drain(): void {}
  close(): void {}
}
