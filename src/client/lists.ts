/** What a client asks for page by page: jobs, the events of one, the items of an entry. */
import type { ItemsReply, ItemsRequest } from "../api/items.ts";
import type { EventsReply, EventsRequest, ListedEvent, ListedJob, ListReply, PageRequest } from "../api/requests.ts";
import { eventsSubject, itemsSubject, LIST } from "../api/subjects.ts";
import type { ItemView } from "../job/item-view.ts";
import { requireJobId } from "../job/names.ts";
import { recordsIn, unreadable } from "./answers.ts";
import { DEFAULT_LIST_LIMIT, type ListItemsOptions, type ListRequest } from "./options.ts";
import type { Requester } from "./requester.ts";

export async function list(
  requests: Requester,
  { limit = DEFAULT_LIST_LIMIT, ...wanted }: ListRequest,
): Promise<ListReply> {
  // A job that changes meanwhile may come again: then it is shown as it is now, where it was.
  const found = new Map<string, ListedJob>();
  const request: PageRequest = given(wanted);
  const next = await requests.pages<Partial<ListReply>>(LIST, request, limit, (page) => {
    for (const job of recordsIn(page.jobs)) found.set(job.job_id, job);
    return found.size;
  });
  const jobs = [...found.values()];
  return next === undefined ? { jobs } : { jobs, next };
}

export async function events(
  requests: Requester,
  jobId: string,
  { limit = DEFAULT_LIST_LIMIT, cursor }: EventsRequest,
): Promise<EventsReply> {
  requireJobId(jobId);
  const found: ListedEvent[] = [];
  const request: EventsRequest = cursor === undefined ? {} : { cursor };
  const next = await requests.pages<Partial<EventsReply>>(eventsSubject(jobId), request, limit, (page) => {
    return found.push(...recordsIn(page.events));
  });
  return next === undefined ? { events: found } : { events: found, next };
}

export async function items(
  requests: Requester,
  jobId: string,
  entry: string | number,
  { limit = DEFAULT_LIST_LIMIT, ...wanted }: ListItemsOptions,
): Promise<ItemsReply> {
  requireJobId(jobId);
  const found: ItemView[] = [];
  let newest: Partial<ItemsReply> | undefined;
  const request: ItemsRequest = { entry, ...given(wanted) };
  const next = await requests.pages<Partial<ItemsReply>>(itemsSubject(jobId), request, limit, (page) => {
    newest = page;
    return found.push(...recordsIn(page.items));
  });
  const { job_id = jobId, index, id, count = null } = newest ?? {};
  if (index === undefined) throw unreadable("does not say of which entry it is");
  const reply: ItemsReply = { job_id, index, ...(id !== undefined && { id }), count, items: found };
  return next === undefined ? reply : { ...reply, next };
}

/** Without what is not asked for. */
function given<T extends object>(request: T): T {
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined)) as T;
}
