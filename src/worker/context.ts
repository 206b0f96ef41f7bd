import type { Logger } from "pino";
import type { Failure } from "../job/failure.ts";

/** What a handler knows about the attempt it executes. */
export interface Context<Args = unknown, Data = unknown> {
  readonly jobId: string;
  readonly jobName: string;
  /** The job's shared data, as submitted; null if there is none. */
  readonly data: Data;
  /** The function's args, as submitted; null if there are none. */
  readonly args: Args;
  /** From 1. It goes on being counted after a retry by hand, and where this runs in place of an entry that failed. */
  readonly attempt: number;
  /** Results of the job's functions before this one, in order. */
  readonly results: readonly unknown[];
  /**
   * The result of the entry with that id, among those that were handed over; null if it returned nothing.
   *
   * @throws AsyncError `no_entry` if there is none: the entry that asks does not name it in its `needs`
   */
  readonly result: (id: string) => unknown;
  /** Of an entry with a `for_each`: the item that this is for, and its number, from 0; both undefined elsewhere. */
  // biome-ignore lint/suspicious/noExplicitAny: the border of the codec: the handler says what it expects
  readonly item: any;
  readonly itemIndex: number | undefined;
  /** Of a function that lists the items of a `for_each`: what it answered last as its `cursor`; null at first, undefined elsewhere. */
  // biome-ignore lint/suspicious/noExplicitAny: the same
  readonly cursor: any;
  /** Where this runs in place of an entry that failed: why that one did. In an undo, and in an `on_failure`: why the job has failed. */
  readonly error: Failure | undefined;
  /** This is to undo what an entry, or an item of it, has done: a function may be its own undo. */
  readonly isUndo: boolean;
  /** In an undo: the result of what is undone; null where it is not known. */
  // biome-ignore lint/suspicious/noExplicitAny: the same
  readonly undone: any;
  /** In an undo: the `idempotencyKey` of what is undone, by which it can be found where it was done. */
  readonly undoOf: string | undefined;
  /** In an undo: it is not known whether what is to be undone was done: an attempt of it ended without an answer. */
  readonly uncertain: boolean;
  /** In an `on_failure`: the entries that have failed, by their ids, or indexes where they have none; else empty. */
  readonly failed: readonly (string | number)[];
  /** What earlier attempts told last by `heartbeat`, to go on from there; undefined if they told nothing. */
  readonly lastProgress: unknown;
  /**
   * Fires when the attempt is given up: its job was cancelled, its timeout has passed, it goes on elsewhere, or the
   * worker's grace period is over. Of the latter the `name` of its `reason` is `Interrupted`: then there is a quarter of a
   * second in which a result, an error or progress still counts. To throw the reason is no failure. The same goes for an entry
   * with an `undo` whose job has failed or was cancelled, but for ten seconds: with a result it is undone, with an error it is not.
   */
  readonly signal: AbortSignal;
  /** When the attempt is given up, by this machine's clock; undefined if never. */
  readonly deadline: Date | undefined;
  /**
   * Tells how far the work is. Heartbeats go on by themselves; this is for people and programs that watch.
   * More than ten a second are thinned out, the newest is kept.
   */
  readonly heartbeat: (progress?: unknown) => void;
  /** Logs with the job, function and attempt attached. */
  readonly log: Logger;
  /**
   * The same for every attempt of this function of this job: hand it to systems that can drop repetitions. Another one when the
   * function is run again by hand although it was done, and where it runs in place of an entry that failed.
   */
  readonly idempotencyKey: string;
}

/** Returns the result, or a promise of it. A throw is a failed attempt; see `FatalError` and `RetryAfter`. */
// biome-ignore lint/suspicious/noExplicitAny: the border of the codec: the handler says what args and data it expects
export type Handler<Args = any, Data = any> = (context: Context<Args, Data>) => unknown;
