/**
 * Definitions: documents that are stored under their name, so that a submission without functions can run them (`job/named.ts`). What
 * is stored of one job besides its state is something else (`definition.ts`).
 *
 * DEFINITIONS-1  A job has a copy of the definition as it was when its first state was stored. No change of it later, nor its removal, is
 *     seen by that job.
 * DEFINITIONS-2  The version counts up with each change. The same document once more changes nothing, so a request may be repeated.
 */
import { formatOfDocument } from "../../job/document.ts";
import type { Encoding } from "../../job/encoding.ts";
import { AsyncError } from "../../job/errors.ts";
import { toJsonValue } from "../../job/plain.ts";
import { FORMAT } from "../../job/record.ts";
import { isSameJson } from "../../job/same.ts";
import type { Submission } from "../../job/schema.ts";
import { isTime } from "../../job/time.ts";
import type { Bus } from "../connection.ts";
import { decode, encode, encodingOf } from "../messages/codec.ts";
import type { JobStore } from "./job-store.ts";
import { type NamedValue, NamedValues, type Value } from "./named-values.ts";

export const MAX_DEFINITIONS = 1_000;
/** Read for a page at most. */
const PAGE_BYTES = 2 * 1024 ** 2;
/** How old a definition may be that a job is shown with which nobody has taken yet, and how many are kept for that. */
const GLANCE_MS = 1_000;
const MAX_GLANCES = 8;

export interface Definition {
  name: string;
  version: number;
  /** ms since 1970. */
  updated_at: number;
  /** In which it was stored: a job of it is in MessagePack if this is, as JSON may not have what is in it. */
  encoding: Encoding;
  /** Of the record that its jobs have. A newer one than ours is not known here, nor its document. */
  format: number;
  /** As it was stored. */
  document: Uint8Array;
}

export class Definitions {
  readonly #values: NamedValues;
  readonly #glances = new Map<string, { at: number; read: Promise<Definition | undefined> }>();

  constructor(bus: Bus, store: JobStore) {
    this.#values = new NamedValues(bus, store, {
      kind: "definition",
      most: MAX_DEFINITIONS,
      full: "definitions_full",
    });
  }

  /** @throws AsyncError of the bus */
  async get(name: string): Promise<Definition | undefined> {
    return definitionIn(await this.#values.get(name));
  }

  /** The same, as it was at most a second ago: to show what has not begun. @throws AsyncError of the bus */
  glance(name: string): Promise<Definition | undefined> {
    const now = performance.now();
    const known = this.#glances.get(name);
    if (known && now - known.at < GLANCE_MS) return known.read;
    const read = this.get(name);
    this.#glances.delete(name);
    this.#glances.set(name, { at: now, read });
    for (const oldest of this.#glances.keys()) {
      if (this.#glances.size <= MAX_GLANCES) break;
      this.#glances.delete(oldest);
    }
    read.catch(() => this.#glances.delete(name)); // whoever has asked is told
    return read;
  }

  /**
   * Stores a document that has been checked under its name.
   *
   * @throws AsyncError `definitions_full`, `newer_format`, or as `NamedValues.change`
   */
  async put(submission: Submission, encoding: Encoding): Promise<{ definition: Definition; changed: boolean }> {
    const { name } = submission;
    const document = encode(submission, encoding);
    const { value, changed } = await this.#values.change(name, (found) => {
      const before = definitionIn(found);
      if (before && before.format > FORMAT) throw newerDefinition(before);
      if (before?.encoding === encoding && isSame(before.document, document)) return undefined;
      const version = (before?.version ?? 0) + 1;
      return { format: formatOfDocument(submission), name, version, updated_at: Date.now(), document };
    });
    this.#glances.delete(name);
    const definition = definitionOf(value);
    if (!definition) throw new TypeError("what was stored is no definition");
    return { definition, changed };
  }

  /** Returns it as it was; undefined if there was none. @throws AsyncError as `NamedValues.change` */
  async remove(name: string): Promise<Definition | undefined> {
    const { before } = await this.#values.change(name, () => null);
    this.#glances.delete(name);
    return definitionOf(before);
  }

  /** @param from a sequence, 1 or `next` of the page before; @throws AsyncError of the bus */
  async page(from: number, batch: number): Promise<{ definitions: Definition[]; next?: number }> {
    const { values, next } = await this.#values.page(from, batch, PAGE_BYTES);
    const definitions = values.flatMap((value) => definitionIn(value) ?? []);
    return next === undefined ? { definitions } : { definitions, next };
  }
}

/** What it says, as it was given. @throws AsyncError `newer_format`, `undecodable` */
export function documentIn(definition: Definition): Submission {
  if (definition.format > FORMAT) throw newerDefinition(definition);
  return decode(definition.document) as Submission;
}

function newerDefinition({ name, format }: Definition): AsyncError {
  const what = `definition ${JSON.stringify(name)} was stored by a newer version (format ${format}) than that of the supervisor that was asked`;
  return new AsyncError("newer_format", `${what}; upgrade it`);
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (Buffer.compare(a, b) === 0) return true;
  const jsonOf = (bytes: Uint8Array) => toJsonValue(decode(bytes), encodingOf(bytes));
  return encodingOf(a) === "json" && isSameJson(jsonOf(a), jsonOf(b));
}

function definitionIn(found: NamedValue | undefined): Definition | undefined {
  return definitionOf(found?.value);
}

/** Anything may be stored there. */
function definitionOf(value: Value | undefined): Definition | undefined {
  if (!value) return undefined;
  const { format, name, version, updated_at, document } = value;
  const isOne =
    Number.isSafeInteger(format) && typeof name === "string" && Number.isSafeInteger(version) && isTime(updated_at);
  if (!isOne || !(document instanceof Uint8Array) || document.length === 0) return undefined;
  return {
    name,
    version: version as number,
    updated_at: updated_at as number,
    encoding: encodingOf(document),
    format: format as number,
    document,
  };
}
