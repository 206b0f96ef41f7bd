/**
 * Ends of children, as they are stored in bucket `jobs` besides their parents, under `<parent>.end.<child>`. Whoever ends a child stores its
 * end there; the owner of the parent takes it, and removes it when the state that follows from it is stored.
 *
 * ENDS-1  Of a child there is one end at a time: that of its newest run. One of an older run never takes its place.
 * ENDS-2  An end for another job, which had the id of the parent before, counts as none, and so does what somebody else has written.
 */
import type { ChildEnd } from "../../job/children.ts";
import { isChildId } from "../../job/children.ts";
import { AsyncError } from "../../job/errors.ts";
import type { Failure } from "../../job/failure.ts";
import { isRecord } from "../../job/plain.ts";
import type { Parent, UndoSummary } from "../../job/state.ts";
import { isTime } from "../../job/time.ts";
import { decodePart, encode } from "../messages/codec.ts";
import { isTooLarge, isWrongSequence } from "../wire/jetstream.ts";
import type { JobStore } from "./job-store.ts";

/** Of the parent: what its ends go by. */
export type ParentRef = Pick<Parent, "job_id" | "created_at">;

/** An end that is stored. */
export interface StoredEnd {
  end: ChildEnd;
  /** By which it is removed. */
  sequence: number;
}

const MIDDLE = ".end.";

export function endKey(parentId: string, childId: string): string {
  return parentId + MIDDLE + childId;
}

/** The parent and the child of the end under that key; undefined if it is something else. */
export function endOf(key: string): { parentId: string; childId: string } | undefined {
  const [parentId = "", kind, childId = "", ...more] = key.split(".");
  return kind === "end" && parentId !== "" && isChildId(childId) && more.length === 0
    ? { parentId, childId }
    : undefined;
}

export function packEnd({ created_at }: ParentRef, { run, outcome, undo, undone }: ChildEnd): Uint8Array {
  const how = outcome.state === "completed" ? { result: outcome.result } : { error: outcome.error };
  const value = { created_at, run, state: outcome.state, ...how, ...(undo && { undo }), ...(undone && { undone }) };
  return encode(value, "msgpack");
}

/** What {@link packEnd} has packed; undefined if it is something else. Never throws. */
export function readEnd(bytes: Uint8Array): (ChildEnd & Pick<ParentRef, "created_at">) | undefined {
  const value = decodePart(bytes);
  if (!isRecord(value)) return undefined;
  const { created_at, run, state, result, error, undo, undone } = value;
  if (!isTime(created_at) || !Number.isSafeInteger(run) || (run as number) < 1) return undefined;
  let outcome: ChildEnd["outcome"];
  if (state === "completed") outcome = { state, result: result ?? null };
  else if ((state === "failed" || state === "cancelled") && isFailure(error)) outcome = { state, error };
  else return undefined;
  const end: ChildEnd & Pick<ParentRef, "created_at"> = { created_at, run: run as number, outcome };
  if (isUndoSummary(undo)) end.undo = undo;
  if (undone === true) end.undone = true;
  return end;
}

function isFailure(value: unknown): value is Failure {
  return isRecord(value) && [value.code, value.name, value.message].every((one) => typeof one === "string");
}

function isUndoSummary(value: unknown): value is UndoSummary {
  return isRecord(value) && typeof value.state === "string" && typeof value.failed === "number";
}

export class ChildEnds {
  readonly #store: Pick<JobStore, "part" | "putPart" | "removePart">;

  constructor(store: Pick<JobStore, "part" | "putPart" | "removePart">) {
    this.#store = store;
  }

  /** The end of a child, if one is stored. @throws AsyncError of the bus */
  async read(parent: ParentRef, childId: string): Promise<StoredEnd | undefined> {
    const part = await this.#store.part(endKey(parent.job_id, childId));
    const found = part && readEnd(part.data);
    // ENDS-2
    if (!part || found?.created_at !== parent.created_at) return undefined;
    const { created_at: _, ...end } = found;
    return { end, sequence: part.sequence };
  }

  /**
   * Stores the end of a child, unless that of the same run, or of a newer one, is there. One that does not fit into a message is stored as a
   * failure.
   *
   * @returns its sequence; @throws AsyncError of the bus: it may be stored or not, repeat it
   */
  async put(parent: ParentRef, childId: string, end: ChildEnd): Promise<number> {
    const key = endKey(parent.job_id, childId);
    const body = packEnd(parent, end);
    try {
      return await this.#store.putPart(key, body, 0);
    } catch (error) {
      if (isTooLarge(error)) return this.put(parent, childId, tooLarge(childId, end));
      if (!isWrongSequence(error)) throw error;
    }
    const part = await this.#store.part(key);
    const there = part && readEnd(part.data);
    // ENDS-1
    if (part && there?.created_at === parent.created_at && there.run >= end.run) return part.sequence;
    try {
      return await this.#store.putPart(key, body, part?.sequence ?? 0);
    } catch (error) {
      if (!isWrongSequence(error)) throw error;
      const what = `somebody else stores the end of child ${childId} at the same time; repeat it`;
      throw new AsyncError("jetstream_unavailable", what, { cause: error });
    }
  }

  /** Removes the end with that sequence. If that fails it is left to the sweep. */
  remove(parentId: string, childId: string, sequence: number): void {
    this.#store.removePart(endKey(parentId, childId), sequence);
  }
}

function tooLarge(childId: string, { run, undo, undone }: ChildEnd): ChildEnd {
  const message = `what the child job ${childId} has come to does not fit into a message; have it return less`;
  const error: Failure = { code: "payload_too_large", name: "PayloadTooLarge", message };
  return {
    run,
    outcome: { state: "failed", error },
    ...(undo && { undo }),
    ...(undone && { undone }),
  };
}
