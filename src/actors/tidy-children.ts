/**
 * What the sweep does about children: ends of which nobody has told the parent, or that no parent waits for; and parents that wait for a
 * child which has ended, or is not there. All that is needed is that the owner of the parent looks for itself, so it is told, or woken.
 */
import { changedSubject, submitSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { endKey, readEnd } from "../bus/store/child-ends.ts";
import { isUnreadable, type JobStore } from "../bus/store/job-store.ts";
import { readLast, type StoredMessage } from "../bus/store/stream-read.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import { JOBS } from "../bus/topology.ts";
import { childIdOf, childOrigin, isEndFor, isOfOneChild } from "../job/children.ts";
import { kindOf } from "../job/function-state.ts";
import { type Branch, type Graph, isEnded, isGraph, type LiveJob } from "../job/state.ts";
import type { Untidy } from "./untidy.ts";

export interface FamilyContext {
  bus: Bus;
  store: JobStore;
  tokens: Tokens;
}

/** Most children of a parent that are looked at in one sweep. */
const MAX_LOOKED_AT = 20;

/** What is to be done about an end that is stored besides a parent. @throws AsyncError of the bus */
export async function untidyEnd(
  context: FamilyContext,
  { parentId, childId }: { parentId: string; childId: string },
  { data, sequence }: StoredMessage,
): Promise<Untidy | undefined> {
  const { store } = context;
  const stored = await store.get(parentId);
  if (isUnreadable(stored)) return undefined;
  const parent = stored?.state;
  const end = readEnd(data);
  if (parent && end && !isEnded(parent) && isGraph(parent) && parent.created_at === end.created_at) {
    const branch = parent.live.find((one) => isOfOneChild(parent, one) && idOf(parent, one) === childId);
    // Which items wait for a child is in their parts.
    const mayBeOfItem = parent.live.some((one) => hasChildrenOfItems(parent, one));
    if (branch ? isEndFor(branch, end) : mayBeOfItem) {
      const what = `the end of child job ${childId}, which its parent ${parentId} has not taken`;
      return { what, mend: () => remind(context, parent) };
    }
  }
  const what = `the end of child job ${childId}, for which nobody waits in job ${parentId}`;
  return { what, mend: () => store.removePart(endKey(parentId, childId), sequence) };
}

function hasChildrenOfItems(job: Graph, { index }: Branch): boolean {
  const fn = job.functions.at(index);
  return fn?.items !== undefined && kindOf(fn) === "job";
}

function idOf(job: Graph, { index }: Branch): string {
  return childIdOf(childOrigin(job, index));
}

/**
 * The child for which a job has waited since before `before` (ms since 1970), although it has ended or is not there, in words; undefined if
 * there is none.
 *
 * @throws AsyncError of the bus
 */
export async function forgottenChild(
  { bus, store }: FamilyContext,
  job: LiveJob,
  before: number,
): Promise<string | undefined> {
  if (!isGraph(job)) return undefined;
  const waiting = job.live.filter((branch) => branch.since <= before && isOfOneChild(job, branch));
  for (const branch of waiting.slice(0, MAX_LOOKED_AT)) {
    const id = idOf(job, branch);
    const stored = await store.get(id);
    if (isUnreadable(stored)) continue;
    if (stored?.state && isEnded(stored.state)) return `it waits for child job ${id}, which is ${stored.state.state}`;
    if (stored?.state || (await readLast(bus, JOBS, submitSubject(id)))) continue;
    return `it waits for child job ${id}, which does not exist`;
  }
  return undefined;
}

/** Has the owner of the job look for its children, or gives it one. @throws AsyncError of the bus */
export async function remind({ bus, tokens }: FamilyContext, job: LiveJob): Promise<void> {
  if (bus.connected) bus.nc.publish(changedSubject(job.job_id));
  if (job.token > 0) await tokens.wake(job);
}
