/**
 * The children of one job, as its actor sees to them: whatever its branches say of a child is made true, and the ends of children become
 * events of the job.
 *
 * The order of what is stored decides (see ARCHITECTURE, Children): the job commits that it waits for a child, then the child is submitted.
 * Whoever ends a child stores its end besides the parent, looks at the parent after that, and tells or wakes it. The actor looks for ends
 * after each commit with which it leaves memory, and at each take-over.
 */
import type { Plan } from "../job/plan.ts";
import type { Graph } from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";

/** What an actor needs of it. */
export interface ChildrenOfJob {
  /** Something may have come that nobody has told. */
  doubt(): void;
  /** Whether something about its children has to be made true, or looked for, before the job goes on from this state. */
  isDue(job: Graph): boolean;
  /** Does that. Returns what has come. @throws AsyncError of the bus: it is tried again */
  attend(job: Graph): Promise<Event[]>;
  /** The child with that id has ended, as somebody says. */
  told(childId: string): void;
  /** What is stored of ends that the job has dealt with goes; called after each commit. */
  committed(job: Graph): void;
  close(): void;
}

/** Stands in until children are built. */
export class Children implements ChildrenOfJob {
  constructor(_context: ActorContext, _host: GraphHost, _plan: Plan) {}
  doubt(): void {}
  isDue(_job: Graph): boolean {
    return false;
  }
  async attend(_job: Graph): Promise<Event[]> {
    return [];
  }
  told(_childId: string): void {}
  committed(_job: Graph): void {}
  close(): void {}
}
