/** Every subject the system uses, in one place. Names must have been validated (`job/names.ts`) before they get here. */
export const SUBMIT = "job.submit";
export const EVENT_PREFIX = "job.event";
export const TIMER_PREFIX = "job.timer";
export const WAKE_PREFIX = "job.wake";
export const GET_PREFIX = "job.get";
export const FUNCTION_PREFIX = "fn";
/** The queue group in which workers subscribe to `fn.<name>`. */
export const WORKER_QUEUE = "fn";
/** The queue group in which supervisors answer the request API. */
export const API_QUEUE = "async";
/** A worker tells that it has room: `{functions: string[], slots: number}`. */
export const ROOM = "job.ctl.room";

export const submitSubject = (id?: string) => (id === undefined ? SUBMIT : `${SUBMIT}.${id}`);
export const functionSubject = (name: string) => `${FUNCTION_PREFIX}.${name}`;
export const eventSubject = (id: string, type: string) => `${EVENT_PREFIX}.${id}.${type}`;
export const timerSubject = (id: string) => `${TIMER_PREFIX}.${id}`;
export const wakeSubject = (id: string) => `${WAKE_PREFIX}.${id}`;
export const getSubject = (id: string) => `${GET_PREFIX}.${id}`;
export const LIST = "job.list";

/** What follows `prefix.` in `subject`; undefined if nothing does. */
export function afterPrefix(subject: string, prefix: string): string | undefined {
  return subject.startsWith(`${prefix}.`) ? subject.slice(prefix.length + 1) : undefined;
}
