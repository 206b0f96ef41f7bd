/** Headers of the messages between supervisors, workers and clients, and the values that have a meaning. */

/** What failed, in words. Standard of NATS services. */
export const ERROR_HEADER = "Nats-Service-Error";
/** Its code: that of HTTP, as is the custom of NATS services. */
export const ERROR_CODE_HEADER = "Nats-Service-Error-Code";
/** The service error code of a worker that has no room now: not an attempt. */
export const NO_ROOM_CODE = "429";
/** `heartbeat`: the worker of an attempt is alive; the body is the progress, if there is any. */
export const STATUS_HEADER = "Async-Status";
/**
 * On a heartbeat: how often its worker sends one, in ms. Three missing ones are a lost attempt. One without it is progress of
 * somebody who may be silent. A result that comes later than the first heartbeat would have has it as well.
 */
export const HEARTBEAT_MS_HEADER = "Async-Heartbeat-Ms";
/** Where in the body of an invocation the results begin, so that they can be left unread until they are asked for. */
export const RESULTS_AT_HEADER = "Async-Results-At";
/**
 * The format of the record that a submission makes, where it is not the first: what it says is not known to versions before that, so
 * their supervisors leave it to others.
 */
export const FORMAT_HEADER = "Async-Format";
/** On a signal: a text of the sender's choice. The same signal with the same key is stored once. */
export const SIGNAL_KEY_HEADER = "Async-Signal-Key";
/** A submission under an id that begins with `auto-` has this header, with any value, unless it is the first one. */
export const REPEATED_HEADER = "Async-Repeated";
/** On the submission of a child: whose it is, as JSON (`job/children.ts`). Its id follows from that. */
export const PARENT_HEADER = "Async-Parent";
