/** How those who see to the items of an entry, and what does these items, know each other. */
import type { GivenInput } from "../bus/messages/invocation.ts";
import type { ItemStore } from "../bus/store/item-store.ts";
import type { FunctionState } from "../job/function-state.ts";
import type { Outcome } from "../job/outcome.ts";
import type { Branch, Graph } from "../job/state.ts";
import type { ItemsReport } from "../job/transition.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";
import type { ItemBook, Page } from "./item-book.ts";
import type { ItemInputs } from "./item-inputs.ts";

/** What a runner and its likes are given. */
export interface ItemsOfEntry {
  context: ActorContext;
  host: GraphHost;
  index: number;
  store: ItemStore;
  inputs: ItemInputs;
  /** What does the items. */
  crewFor(owner: ItemsOwner): Crew;
}

/** Who sees to the items of an entry, as what does them sees it. */
export interface ItemsOwner extends CrewOwner {
  readonly book: ItemBook;
  /** The open part in which an item is. */
  pageOf(item: number): Page | undefined;
}

/** What `Items` needs of whoever sees to the items of an entry. */
export interface ItemsAtWork {
  /** To be called after each commit. */
  tend(job: Graph, branch: Branch): void;
  readonly inFlight: boolean;
  readonly heldBack: boolean;
  drain(): void;
  close(): void;
}

/** Who has the items. */
export interface CrewOwner {
  /** What an attempt is handed; a promise of it where something has to be read before. @throws ExpressionError */
  given(item: number, fn: FunctionState): GivenInput | Promise<GivenInput>;
  onDone(item: number, attempt: number, result: unknown): void;
  /** It is tried again, at `retryAt`; after `stop` it is not. */
  onTried(item: number, outcome: Outcome): void;
  onFailed(item: number, outcome: Outcome): void;
  /** It was told to stop, and has not answered. */
  onUnheard(item: number, attempt: number): void;
  /** Something has changed: another one may begin, or all of them wait. Called after each of the above. */
  onChange(): void;
}

/** How all that are under way wait; undefined: some of them are at work. */
export type CrewWait = NonNullable<ItemsReport["wait"]> | undefined;

/** Stands for the number of an item where a function lists them: it is called for none. */
export const LISTING = -1;

/** What the items of an entry are done by: attempts of a function, or children. */
export interface Crew {
  /** How many are under way. */
  readonly size: number;
  /** A worker may be at some of them. */
  readonly inFlight: boolean;
  /** Something is held back, see CREW-2. */
  readonly heldBack: boolean;
  /** @param dueAt when it may begin, ms since 1970 */
  begin(item: number, fn: FunctionState, dueAt?: number): void;
  has(item: number): boolean;
  /** It has ended without us. */
  cancel(item: number): void;
  /** How all that are under way wait, if that is for longer. @param now ms since 1970 */
  waitOf(now: number): CrewWait;
  /** Nothing begins until `release`. */
  pause(): void;
  /** What was held back, or waited for room, is tried again. */
  release(): void;
  /** Nothing begins any more. @param isHeard whether answers of what is in flight are waited for */
  stop(isHeard: boolean): void;
  /** Nobody wants the rest to be undone. */
  skipUndo(): void;
  /** The job is to be handed over: what is not in flight is let go, and what is may end. */
  drain(): void;
  close(): void;
}

/** What those who see to items are at. */
export type ItemsMode =
  /** It reads what is stored. */
  | "loading"
  | "on"
  /** All wait for long: it is about to say so. */
  | "leaving"
  /** It has said so. */
  | "resting"
  /** It is about to say that it goes on. */
  | "waking"
  /** Nothing begins any more: what is under way ends. */
  | "ending"
  /** It has said how it ended. */
  | "over";

/** What comes first of what both wait for. */
function firstOf(a: NonNullable<CrewWait>, b: NonNullable<CrewWait>): CrewWait {
  if (a.type !== "backoff") return a;
  return b.type !== "backoff" || b.due_at < a.due_at ? b : a;
}

/** How the items, and what lists them, wait; undefined: some of that is at work. @param now ms since 1970 */
export function waitOfBoth(
  crew: Pick<Crew, "size" | "waitOf">,
  listing: Pick<Crew, "size" | "waitOf"> | undefined,
  now: number,
): CrewWait {
  const ofItems = crew.size > 0 ? crew.waitOf(now) : undefined;
  if (!listing?.size) return ofItems;
  const ofListing = listing.waitOf(now);
  return crew.size === 0 ? ofListing : ofItems && ofListing && firstOf(ofItems, ofListing);
}
