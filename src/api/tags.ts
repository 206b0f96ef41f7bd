/** Tags by which jobs are asked for in lists. */
import { AsyncError } from "../job/errors.ts";
import { isRecord } from "../job/plain.ts";
import { MAX_TAG_LENGTH, MAX_TAGS } from "../job/schema.ts";

export type Tags = Readonly<Record<string, string>>;

/**
 * The tags in texts `name:value`; the name ends at the first colon.
 *
 * @throws AsyncError `invalid_request`
 */
export function parseTags(texts: readonly string[]): Tags {
  return texts.map(parseTag).reduce(allTags, {});
}

function parseTag(text: string): Tags {
  const [, name, value] = /^([^:]+):(.*)$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return Object.fromEntries([[name, value]]);
  throw refused(`not a tag: ${JSON.stringify(text.slice(0, 64))}; a tag is asked for as name:value, e.g. customer:c1`);
}

/** What has all of both. @throws AsyncError `invalid_request` if nothing can have */
export function allTags(some: Tags, others: Tags): Tags {
  for (const [name, value] of Object.entries(others)) {
    if (!Object.hasOwn(some, name) || some[name] === value) continue;
    throw refused(`tag ${name.slice(0, 64)} is asked for with two values; a job has one`);
  }
  return checkTags({ ...some, ...others });
}

/** @throws AsyncError `invalid_request` */
export function checkTags(value: unknown): Tags {
  if (!isRecord(value)) throw refused("tags must be an object {name: value}");
  const entries = Object.entries(value);
  if (entries.length > MAX_TAGS) throw refused(`at most ${MAX_TAGS} tags can be asked for, as a job has no more`);
  for (const [name, text] of entries) {
    if (typeof text === "string" && text.length <= MAX_TAG_LENGTH) continue;
    throw refused(`tag ${name.slice(0, 64)} must be text of at most ${MAX_TAG_LENGTH} characters`);
  }
  return value as Tags;
}

function refused(why: string): AsyncError {
  return new AsyncError("invalid_request", why);
}
