/**
 * Which jobs have all of some tags. Lists look at thousands of jobs to show a few, and to decode a small one costs seventy times as much
 * as to look for some bytes in it (16 and 0.2 µs). So what cannot have the tags is passed over by its bytes; what may have them is decoded, and
 * {@link TagFilter.matches} decides.
 *
 * Example: for `{customer: "c1"}` a record is decoded only if it has the MessagePack of `customer` followed by that of `c1`. So has
 * each record with that tag, in full or brief (`brief-state.ts`), because tags are never left to the submission; besides it only one
 * whose data or results have the same pair.
 */
import type { JobState } from "../../job/state.ts";
import { encode, encodingOf } from "../messages/codec.ts";

export class TagFilter {
  readonly #tags: [name: string, value: string][];
  /** As each record has them that we have written. */
  readonly #pairs: Buffer[];
  readonly #values: Buffer[];
  /** As JSON has them, unless it has escapes that are not needed. */
  readonly #quoted: Buffer[];

  constructor(tags: Readonly<Record<string, string>>) {
    this.#tags = Object.entries(tags);
    this.#pairs = this.#tags.map(([name, value]) => Buffer.concat([encode(name, "msgpack"), encode(value, "msgpack")]));
    this.#values = this.#tags.map(([, value]) => Buffer.from(value));
    this.#quoted = this.#tags.map(([, value]) => Buffer.from(JSON.stringify(value)));
  }

  /** False if the job of a record has not all of the tags. */
  mayBeRecord(bytes: Uint8Array): boolean {
    return hasAll(bytes, this.#pairs);
  }

  /** False if a submission, whoever has written it, does not ask for all of the tags. One without functions may have those of a definition. */
  mayBeSubmission(bytes: Uint8Array): boolean {
    if (!hasAll(bytes, FUNCTIONS)) return true;
    if (encodingOf(bytes) === "msgpack") return hasAll(bytes, this.#values); // each length may be written in several ways
    return hasAll(bytes, this.#quoted) || bytes.includes(BACKSLASH);
  }

  matches({ tags = {} }: Pick<JobState, "tags">): boolean {
    return this.#tags.every(([name, value]) => Object.hasOwn(tags, name) && tags[name] === value);
  }
}

const BACKSLASH = 0x5c;
const FUNCTIONS = [Buffer.from("functions")];

function hasAll(bytes: Uint8Array, needles: readonly Buffer[]): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return needles.every((needle) => buffer.includes(needle));
}
