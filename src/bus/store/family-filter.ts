/**
 * Which jobs a list has as far as families go: those that are nobody's children, which is what people ask for unless they say otherwise, or
 * the children of one job. That a job is a child is told by its id, so nothing has to be decoded for it.
 *
 * Example: for the children of `order-1` a record is decoded only if its key is the id of a child, and it has the MessagePack of `job_id`
 * followed by that of `order-1`, as each record of these has it; `matches` decides.
 */
import { isChildId } from "../../job/children.ts";
import type { JobState } from "../../job/state.ts";
import { encode } from "../messages/codec.ts";

export class FamilyFilter {
  readonly #parent: string | undefined;
  readonly #pair: Buffer | undefined;

  /** @param parent only children of that job; undefined: only jobs that are nobody's children */
  constructor(parent: string | undefined) {
    this.#parent = parent;
    if (parent !== undefined) this.#pair = Buffer.concat([encode("job_id", "msgpack"), encode(parent, "msgpack")]);
  }

  /** False if the job of a record is certainly not asked for. */
  mayBeRecord(jobId: string, bytes: Uint8Array): boolean {
    if (!this.#pair) return !isChildId(jobId);
    return isChildId(jobId) && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(this.#pair);
  }

  matches({ job_id, parent }: Pick<JobState, "job_id" | "parent">): boolean {
    return this.#parent === undefined ? !isChildId(job_id) : parent?.job_id === this.#parent;
  }
}
