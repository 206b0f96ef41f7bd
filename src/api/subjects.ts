/** Every subject the system uses, in one place. Names must have been validated (`job/names.ts`) before they get here. */
export const SUBMIT = "job.submit";
export const EVENT_PREFIX = "job.event";
/** The end of a job whose submission names someone to notify: the same body as that of its event. */
const NOTIFY_PREFIX = "job.notify";
export const TIMER_PREFIX = "job.timer";
export const WAKE_PREFIX = "job.wake";
/** Jobs that wait for a worker, outside of memory: `job.wait.<function>.<id>`. */
export const WAIT_PREFIX = "job.wait";
export const GET_PREFIX = "job.get";
export const CANCEL_PREFIX = "job.cancel";
export const RETRY_PREFIX = "job.retry";
/** Something that a job waits for has come: `job.signal.<id>.<name>`; the body is its payload. */
export const SIGNAL_PREFIX = "job.signal";
/** What has happened to a job, as far as it is kept: `job.events.<id>`. */
export const EVENTS_PREFIX = "job.events";
/** What an entry of a job has returned, or the job: `job.result.<id>`. */
export const RESULT_PREFIX = "job.result";
/** The items of an entry of a job: `job.items.<id>`. */
export const ITEMS_PREFIX = "job.items";
/** Why a job waits: `job.explain.<id>`. */
export const EXPLAIN_PREFIX = "job.explain";
export const FUNCTION_PREFIX = "fn";
/** The queue group in which workers subscribe to `fn.<name>`. */
export const WORKER_QUEUE = "fn";
/** The queue group in which supervisors answer the request API. */
export const API_QUEUE = "async";
/** The name of the NATS service that answers the request API. */
export const API_SERVICE = "async";
/** A worker tells that it has room: `{functions: string[], slots: number}`. */
export const ROOM = "job.ctl.room";
/** Nobody waits for this attempt any more: `{reply, job_id, index, attempt}`, `reply` being that of its invocation. */
export const STOP = "job.ctl.stop";
/** Someone else than its actor has written the state of a job: `job.ctl.changed.<id>`. */
export const CHANGED_PREFIX = "job.ctl.changed";
/** A child of the job has ended: `job.ctl.ended.<id of the parent>`; the body is the id of the child. */
export const ENDED_PREFIX = "job.ctl.ended";
/** Jobs of a function have been sent to wait for a worker outside of memory: `{function}`. */
export const QUEUED = "job.ctl.queued";

/** The settings at a function have been changed: `{function}`. */
export const SETTINGS = "job.ctl.settings";

/** Whether there is room for new jobs: `{full}`, each second while there is none. */
export const STORAGE = "job.ctl.storage";

export const submitSubject = (id?: string) => (id === undefined ? SUBMIT : `${SUBMIT}.${id}`);
export const functionSubject = (name: string) => `${FUNCTION_PREFIX}.${name}`;
export const eventSubject = (id: string, type: string) => `${EVENT_PREFIX}.${id}.${type}`;
export const notifySubject = (name: string) => `${NOTIFY_PREFIX}.${name}`;
export const timerSubject = (id: string) => `${TIMER_PREFIX}.${id}`;
export const wakeSubject = (id: string) => `${WAKE_PREFIX}.${id}`;
export const waitSubject = (functionName: string, id: string) => `${WAIT_PREFIX}.${functionName}.${id}`;
export const getSubject = (id: string) => `${GET_PREFIX}.${id}`;
export const cancelSubject = (id: string) => `${CANCEL_PREFIX}.${id}`;
export const retrySubject = (id: string) => `${RETRY_PREFIX}.${id}`;
export const signalSubject = (id: string, name: string) => `${SIGNAL_PREFIX}.${id}.${name}`;
export const eventsSubject = (id: string) => `${EVENTS_PREFIX}.${id}`;
export const explainSubject = (id: string) => `${EXPLAIN_PREFIX}.${id}`;
export const resultSubject = (id: string) => `${RESULT_PREFIX}.${id}`;
export const itemsSubject = (id: string) => `${ITEMS_PREFIX}.${id}`;
export const changedSubject = (id: string) => `${CHANGED_PREFIX}.${id}`;
export const endedSubject = (parentId: string) => `${ENDED_PREFIX}.${parentId}`;
export const LIST = "job.list";
/** Documents under their name. The body of `put` is the document, that of the others an object with the `name`. */
export const DEFINITION_PUT = "definition.put";
export const DEFINITION_GET = "definition.get";
export const DEFINITION_LIST = "definition.list";
export const DEFINITION_DELETE = "definition.delete";
/** What is set at a function: by hand (`set`, `unset`), or by workers when they start (`register`). */
export const FUNCTION_GET = "function.get";
export const FUNCTION_SET = "function.set";
export const FUNCTION_UNSET = "function.unset";
export const FUNCTION_REGISTER = "function.register";
/** What waits for each function. */
export const FUNCTION_LIST = "function.list";
/**
 * Each supervisor answers with the lines that it has: `{functions: [{name, waiting, in_flight, oldest_ms?, unserved?}]}`. Asked
 * with `{functions: string[]}`, with those of these functions.
 */
export const LINES = "job.ctl.lines";

/** What follows `prefix.` in `subject`; undefined if nothing does. */
export function afterPrefix(subject: string, prefix: string): string | undefined {
  return subject.startsWith(`${prefix}.`) ? subject.slice(prefix.length + 1) : undefined;
}
