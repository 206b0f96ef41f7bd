/**
 * What programs use to submit and watch jobs; the bridge and the CLI are built on it. It speaks only subjects that any
 * NATS client can use: `job.submit`, the request API, `job.event`, `$SRV.INFO`.
 */
import type { ItemsReply } from "../api/items.ts";
import type { DefinitionInfo, DefinitionReply, FunctionSettingsReply } from "../api/kept.ts";
import type {
  CancelRequest,
  EventsReply,
  EventsRequest,
  FunctionsReply,
  ListReply,
  LookRequest,
  ResultRequest,
  SignalReply,
  SubmittedJob,
} from "../api/requests.ts";
import {
  cancelSubject,
  explainSubject,
  FUNCTION_LIST,
  getSubject,
  resultSubject,
  retrySubject,
  submitSubject,
} from "../api/subjects.ts";
import { withEnvironment } from "../bus/address.ts";
import { Bus, type BusOptions } from "../bus/connection.ts";
import { isAsyncError, JobFailedError } from "../job/errors.ts";
import type { Explanation } from "../job/explanation.ts";
import type { NamedJob } from "../job/named.ts";
import { requireJobId } from "../job/names.ts";
import { toJsonValue } from "../job/plain.ts";
import type { RetryPatch } from "../job/retry-patch.ts";
import type { JobDocument } from "../job/schema.ts";
import { requireLimit } from "../job/time.ts";
import type { JobView } from "../job/view.ts";
import { RandomText } from "../util/random-text.ts";
import { answerIn, areRecords, jobIn, unreadable } from "./answers.ts";
import { type Completed, Ends } from "./ends.ts";
import type { DefineOptions, SetFunctionOptions, SettingsChange } from "./kept.ts";
import * as kept from "./kept.ts";
import * as lists from "./lists.ts";
import type { ListItemsOptions, ListRequest, RunOptions, WaitOptions } from "./options.ts";
import { closed, mayPass, patiently, tryMs, unacknowledged } from "./patience.ts";
import { REQUEST_TIMEOUT_MS, Requester } from "./requester.ts";
import { resultIn, withResult } from "./result.ts";
import { prepareSignal, readSignalReply, type SignalOptions } from "./signal.ts";
import { StorageNotice } from "./storage-notice.ts";
import {
  definitionNamedIn,
  existingJob,
  headersOfSubmission,
  ID_CHARACTERS,
  type Prepared,
  pendingView,
  prepare,
  prepareAt,
  requireSame,
  type SubmitManyOptions,
  type SubmitOptions,
  type SubmitOutcome,
  submitAll,
} from "./submission.ts";
import { listWorkers, type WorkerView } from "./workers.ts";

const SUBMIT_TIMEOUT_MS = 5_000;
/** The supervisor that is asked takes a second itself. */
const FUNCTIONS_TIMEOUT_MS = 4_000;
/** How long a submission that is stored waits to be told whether its id existed before. */
const CONFIRM_TIMEOUT_MS = 500;
/** Enough to keep a server busy, and few enough not to delay what else is on the connection. */
const SUBMISSIONS_IN_FLIGHT = 1_000;
/** Arguments that are taken only for an input of which no field is known (`unknown`, `object`); see {@link Client.submit}. */
type IfUnknown<T, Arguments extends unknown[]> = object extends T ? Arguments : [never];

export class Client {
  readonly bus: Bus;
  readonly #ids = new RandomText(ID_CHARACTERS);
  readonly #ends: Ends;
  readonly #requests: Requester;
  /** From the first submission on. */
  #storage: StorageNotice | undefined;

  /** On a connection that the caller owns and closes. */
  constructor(bus: Bus) {
    this.bus = bus;
    this.#ends = new Ends(bus);
    this.#requests = new Requester(bus);
  }

  /** @throws AsyncError `invalid_option`, `not_connected`, `server_too_old` */
  static async connect(options: Partial<BusOptions> = {}): Promise<Client> {
    return new Client(await Bus.open({ name: "async-client", ...withEnvironment(options) }));
  }

  /**
   * Submits a job. When this returns, the job is stored and will reach its end, whatever dies.
   *
   * The type of a job is checked. What comes from elsewhere is taken as `unknown`, and checked when it is submitted. A job without
   * `functions` runs the definition of its name.
   *
   * @returns the job as it is at that moment. If there is a job with an id that was chosen, it is that one, marked
   * `existing`, and `differs` says whether its name or functions are others
   * @throws InvalidInputError with every reason; AsyncError `definition_not_found`, `jobs_full`, `storage_full` (try later), `payload_too_large`, or after
   * `timeoutMs` `not_connected`, `jetstream_unavailable`, `bus_timeout` (it may be stored or not: repeat it with the
   * same id)
   */
  submit<T>(input: T, ...options: IfUnknown<T, [options?: SubmitOptions]>): Promise<SubmittedJob>;
  submit(input: JobDocument | NamedJob, options?: SubmitOptions): Promise<SubmittedJob>;
  async submit(input: unknown, options: SubmitOptions = {}): Promise<SubmittedJob> {
    requireLimit("timeoutMs", options.timeoutMs);
    const name = definitionNamedIn(input);
    const known = name === undefined ? undefined : await kept.glanceAt(this.#requests, name);
    const submission = prepare(input, options, this.#ids, undefined, known);
    const sequence = await this.#stored(submission, options.timeoutMs ?? SUBMIT_TIMEOUT_MS);
    if (!submission.chosen) return pendingView(submission);
    try {
      return (await this.#existing(submission, sequence, CONFIRM_TIMEOUT_MS)) ?? pendingView(submission);
    } catch (error) {
      // It is stored, which is what counts.
      if (!isAsyncError(error)) throw error;
      return { ...pendingView(submission), unconfirmed: true };
    }
  }

  /**
   * Submits a job and waits for what comes of it: quicker than {@link submit} and {@link wait}, because whoever runs the
   * job tells this client of its end. If this process dies, the job goes on all the same.
   *
   * The type of a job is checked, as that of {@link submit}; where the one of the result is named as well, what comes from elsewhere
   * is `run<Result, unknown>(job)`.
   *
   * @example const sum = await client.run({ name: "sum", functions: [{ name: "add", args: [1, 2] }] });
   * @returns the result of the last function
   * @throws JobFailedError `job_failed`, `job_cancelled`; AsyncError `job_exists` if there is a job with the chosen id that has
   * another name or other functions, `bus_timeout` after `timeoutMs`, `closed` if the client
   * is; the signal's reason; what {@link submit} throws
   */
  run<Result, T>(input: T, ...options: IfUnknown<T, [options?: RunOptions]>): Promise<Result>;
  run<Result = unknown>(input: JobDocument | NamedJob, options?: RunOptions): Promise<Result>;
  async run<Result = unknown>(input: unknown, options: RunOptions = {}): Promise<Result> {
    const { timeoutMs, signal, onSubmitted } = options;
    requireLimit("timeoutMs", timeoutMs);
    signal?.throwIfAborted();
    const begun = performance.now();
    const named = definitionNamedIn(input);
    const known = named === undefined ? undefined : await kept.glanceAt(this.#requests, named);
    // Who is told by the definition is told: not to be replaced by this client.
    const isTold = named !== undefined && (known === undefined || known.notify !== undefined);
    const submission = prepare(input, options, this.#ids, isTold ? undefined : this.#ends.name, known);
    const { jobId, definition } = submission;
    const notifies = definition.notify === this.#ends.name;
    const watch = notifies ? this.#ends.watchNotified(jobId) : this.#ends.watchEvents(jobId);
    // Under an id of our own making there was no job before, so there is nothing to see yet.
    let isNew = notifies;
    let isOurs = !submission.chosen;
    let sequence = 0;
    const find = () => {
      if (!isOurs) return confirm();
      if (watch.completed) return watch.completed;
      if (!isNew) return this.#findEnd(jobId);
      isNew = false;
      return undefined;
    };
    // No end counts before it is known that it is that of the job that was submitted.
    const confirm = async (): Promise<Completed | JobView | undefined> => {
      try {
        requireSame(await this.#existing(submission, sequence, CONFIRM_TIMEOUT_MS));
      } catch (error) {
        if (mayPass(error)) return undefined;
        throw error;
      }
      isOurs = true;
      return find();
    };
    try {
      sequence = await this.#stored(submission, timeoutMs ?? SUBMIT_TIMEOUT_MS);
      if (onSubmitted) this.bus.callGuarded("onSubmitted failed", () => onSubmitted(jobId));
      const leftMs = timeoutMs === undefined ? undefined : timeoutMs - (performance.now() - begun);
      const end = await watch.until<Completed | JobView>(find, { timeoutMs: leftMs, signal });
      if ("state" in end && end.state !== "completed") throw new JobFailedError(end.job_id, end.error);
      return end.result_omitted ? await this.result<Result>(jobId) : (end.result as Result);
    } finally {
      watch.close();
    }
  }

  /**
   * Submits many jobs, several times faster than one by one. Nothing is submitted if one of them is not valid.
   *
   * @returns for each, in their order, its id, or why it may not be stored: an AsyncError as {@link submit} throws it
   * @throws InvalidInputError with the reasons of the first that is not valid; their paths begin with its index
   */
  async submitMany(inputs: readonly unknown[], options: SubmitManyOptions = {}): Promise<SubmitOutcome[]> {
    const { timeoutMs = SUBMIT_TIMEOUT_MS, inFlight = SUBMISSIONS_IN_FLIGHT } = options;
    requireLimit("timeoutMs", timeoutMs);
    const names = new Set(inputs.flatMap((input) => definitionNamedIn(input) ?? []));
    const known = new Map<string, JobDocument | undefined>();
    for (const name of names) known.set(name, await kept.glanceAt(this.#requests, name));
    const submissions = inputs.map((input, index) => prepareAt(index, input, options, this.#ids, known));
    return submitAll(submissions, inFlight, (one, done) => this.#store(one, timeoutMs, done));
  }

  /** @throws AsyncError `job_not_found`, `invalid_job_id`, or what the bus throws */
  async get(jobId: string): Promise<JobView> {
    requireJobId(jobId);
    return this.#askJob(getSubject(jobId));
  }

  /**
   * Ends a job, in whatever state it is: what runs of it is told to stop, what has not begun never will. What it has done is undone
   * before, where its document says how; with `undo: "skip"` that is left as it is, also by a job that is undoing already.
   *
   * @returns the cancelled job, or the one that undoes
   * @throws AsyncError `job_not_found`, `job_ended` (it is completed or failed), `job_undoing` (it is on its way to its end),
   * `invalid_job_id`, or what the bus throws
   */
  async cancel(jobId: string, options: CancelRequest = {}): Promise<JobView> {
    requireJobId(jobId);
    const { undo } = options;
    return this.#askJob(cancelSubject(jobId), undo === undefined ? undefined : { undo });
  }

  /**
   * Lets a failed or cancelled job go on at the function that failed, with all its executions to be had again; with
   * other `data`, other `args` of that function, or other args of entries (`args_by_id`), if they are given. `from` names the entry
   * from which on all is run again, `failed` asks for what failed only.
   *
   * @example await client.retry("order-4711", { from: "charge", args_by_id: { charge: { amount: 10 } }, by: "ann" });
   * @throws AsyncError `job_not_found`, `job_not_ended`, `job_ended` (it is completed, or was never valid), `no_entry` (it has no
   * such entry), `invalid_request`, `payload_too_large`, `invalid_job_id`, or what the bus throws: with `from` or `failed` it may be done then,
   * and is not asked for again, as that would run the same entries once more
   */
  async retry(jobId: string, patch: RetryPatch = {}): Promise<JobView> {
    requireJobId(jobId);
    // Requests are JSON, also where the patch came in another encoding.
    const request = toJsonValue(patch, "msgpack");
    const isOnce = patch.from !== undefined || patch.failed === true;
    const subject = retrySubject(jobId);
    return isOnce ? jobIn(await this.#requests.askOnce(subject, request)) : this.#askJob(subject, request);
  }

  /**
   * Sends a signal that an entry of the job waits for, or will wait for (`wait_for`). Its payload becomes the result of that entry.
   *
   * @example await client.signal("order-4711", "approval", { approved: true }, { key: "decision-12" });
   * @returns when it is stored: it is not lost any more
   * @throws AsyncError `job_not_found`, `unknown_signal` (no entry waits for that name), `job_ended`, `signals_full` (16 of that name
   * have not been used yet), `payload_too_large`, `invalid_request`, `invalid_job_id`, or what the bus throws: then it may be stored or not
   */
  async signal(jobId: string, name: string, payload?: unknown, options: SignalOptions = {}): Promise<SignalReply> {
    const { subject, body, headers } = prepareSignal(jobId, name, payload, options, this.#ids);
    return readSignalReply(answerIn(await this.#requests.send(subject, body, REQUEST_TIMEOUT_MS, headers)), options);
  }

  /**
   * Jobs, each once, the longest unchanged first unless `order` is `newest`. Where there are more, `next` is the cursor to go on
   * with: they may be more than `limit`, or than can be answered within seconds and a few MB.
   *
   * @example const { jobs } = await client.list({ state: "failed", tags: { customer: "c1" } });
   * @throws AsyncError `invalid_request`, or what the bus throws
   */
  list(request: ListRequest = {}): Promise<ListReply> {
    return lists.list(this.#requests, request);
  }

  /**
   * What has happened to a job, the older first, as far as it is kept: what is rare, such as the errors of attempts, for a week or
   * until there is too much of it; that a job completes only with `--store-completed`. What happens now is told by
   * {@link wait} with `onEvent`.
   *
   * @throws AsyncError `job_not_found` if nothing is kept and there is no such job, `invalid_job_id`, `invalid_request`, or what
   * the bus throws
   */
  events(jobId: string, request: EventsRequest = {}): Promise<EventsReply> {
    return lists.events(this.#requests, jobId, request);
  }

  /**
   * The items of an entry with a `for_each`, by its id or its index, in their order; also while the job runs. An item that is under way is
   * `pending`. Where there are more, `next` is the cursor to go on with.
   *
   * @example const { items } = await client.items("order-4711", "pick", { state: "failed" });
   * @throws AsyncError `no_entry`, `invalid_request` (also: the entry has no items), `job_not_found`, `invalid_job_id`, or what the bus throws
   */
  items(jobId: string, entry: string | number, options: ListItemsOptions = {}): Promise<ItemsReply> {
    return lists.items(this.#requests, jobId, entry, options);
  }

  /**
   * What an entry of a job has returned, by its id or its index in the list; without one what the job has, which is what its last entry
   * has. So results can be had that are too large to be shown in their job (`result_omitted`).
   *
   * @throws AsyncError `no_entry`, `job_not_ended` (there is none yet), `job_ended` (there is none), `payload_too_large` (as JSON it does not
   * fit into a message), `job_not_found`, `invalid_job_id`, or what the bus throws
   */
  async result<Result = unknown>(jobId: string, entry?: string | number): Promise<Result> {
    requireJobId(jobId);
    const request: ResultRequest | undefined = entry === undefined ? undefined : { entry };
    return resultIn(await this.#requests.ask(resultSubject(jobId), request)) as Result;
  }

  /** Why a job waits, entry by entry. @throws AsyncError `job_not_found`, `invalid_job_id`, or what the bus throws */
  async explain(jobId: string): Promise<Explanation> {
    requireJobId(jobId);
    const answer = (await this.#requests.ask(
      explainSubject(jobId),
      undefined,
      FUNCTIONS_TIMEOUT_MS,
    )) as Partial<Explanation>;
    if (typeof answer.state !== "string" || !areRecords(answer.entries)) throw unreadable("is no explanation");
    return answer as Explanation;
  }

  /** What waits for each function, and how many workers serve it. @throws AsyncError of the bus */
  async functions(): Promise<FunctionsReply> {
    const answer = (await this.#requests.ask(
      FUNCTION_LIST,
      undefined,
      FUNCTIONS_TIMEOUT_MS,
    )) as Partial<FunctionsReply>;
    if (!areRecords(answer.functions)) throw unreadable("is no list of functions");
    return answer as FunctionsReply;
  }

  /** Every worker that answers, services of other makers included. @throws AsyncError of the bus, `closed` */
  async workers(): Promise<WorkerView[]> {
    if (this.bus.closed) throw closed();
    const workers = await listWorkers(this.bus);
    if (this.bus.closed) throw closed(); // the others' answers were not waited for
    return workers;
  }

  /**
   * Stores a document under its name. A job of that name that is submitted without functions runs it, as it was when the job was taken.
   *
   * @throws InvalidInputError with every reason; AsyncError `definitions_full`, `storage_full`, `payload_too_large`, or what the bus throws
   */
  define(document: unknown, options: DefineOptions = {}): Promise<DefinitionInfo> {
    return kept.define(this.#requests, document, options);
  }

  /** @throws AsyncError `definition_not_found`, `invalid_request`, or what the bus throws */
  definition(name: string): Promise<DefinitionReply> {
    return kept.definition(this.#requests, name);
  }

  /** All, by name, without their documents. @throws AsyncError of the bus */
  definitions(): Promise<DefinitionInfo[]> {
    return kept.definitions(this.#requests);
  }

  /** Returns it as it was. Jobs that have been taken go on with it. @throws AsyncError as {@link definition}: then it may be removed */
  removeDefinition(name: string): Promise<DefinitionInfo> {
    return kept.removeDefinition(this.#requests, name);
  }

  /** What is set at a function, by hand and by workers. @throws AsyncError `invalid_function_name`, or what the bus throws */
  functionSettings(name: string): Promise<FunctionSettingsReply> {
    return kept.functionSettings(this.#requests, name);
  }

  /**
   * Sets by hand what counts for a function where a job does not say it; wins over what a worker has registered. It counts for jobs
   * that are there already, too.
   *
   * @example await client.setFunction("charge", { retry_limit: 5, timeout_ms: 30_000 });
   * @throws InvalidInputError with every reason; AsyncError `invalid_function_name`, `settings_full`, or what the bus throws
   */
  setFunction(
    name: string,
    settings: SettingsChange,
    options: SetFunctionOptions = {},
  ): Promise<FunctionSettingsReply> {
    return kept.setFunction(this.#requests, name, settings, options);
  }

  /** Takes back what was set by hand; or what workers have registered. @throws AsyncError as {@link functionSettings} */
  unsetFunction(name: string, options: { registered?: boolean } = {}): Promise<FunctionSettingsReply> {
    return kept.unsetFunction(this.#requests, name, options);
  }

  /**
   * Waits for the end of a job. While NATS or the supervisors are away it waits on.
   *
   * @throws AsyncError `job_not_found`, `invalid_job_id`, `bus_timeout` after `timeoutMs`, or `closed` if the client is; the
   * signal's reason
   */
  async wait(jobId: string, { onEvent, ...limits }: WaitOptions = {}): Promise<JobView> {
    requireJobId(jobId);
    requireLimit("timeoutMs", limits.timeoutMs);
    const watch = this.#ends.watchEvents(jobId, onEvent);
    try {
      return await watch.until(() => this.#findEnd(jobId), limits);
    } finally {
      watch.close();
    }
  }

  async close(): Promise<void> {
    this.#storage?.close();
    await this.bus.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Whether there is room for new jobs. @internal */
  get storage(): StorageNotice {
    this.#storage ??= new StorageNotice(this.bus);
    return this.#storage;
  }

  /** Its sequence in stream JOBS. */
  #stored(submission: Prepared, timeoutMs: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#store(submission, timeoutMs, (error, sequence) => {
        if (error === undefined) resolve(sequence);
        else reject(this.bus.connected && isAsyncError(error, "bus_timeout") ? unacknowledged(error) : error);
      });
    });
  }

  /** The job that had the id before this submission, which has the given sequence; undefined if there was none. */
  async #existing(submission: Prepared, sequence: number, timeoutMs: number): Promise<SubmittedJob | undefined> {
    const request: LookRequest = { submission: sequence };
    const found: SubmittedJob = await this.#askJob(getSubject(submission.jobId), request, timeoutMs);
    return found.existing ? existingJob(submission, found) : undefined;
  }

  /** Tries until it is stored; from the second time on it says that it may be a repetition. */
  #store(submission: Prepared, timeoutMs: number, done: (error: unknown, sequence: number) => void): void {
    const { jobId, body, repeated } = submission;
    if (this.bus.closed) {
      done(closed(), 0);
      return;
    }
    const { storage } = this;
    if (storage.looking) {
      // Only before the first submission: whoever submits one job and ends would never hear that there is no room.
      void storage.looking.then(() => this.#store(submission, timeoutMs, done));
      return;
    }
    const { refusal } = storage;
    if (refusal) {
      done(refusal, 0);
      return;
    }
    const sentAt = performance.now();
    this.bus.mux.store(
      submitSubject(jobId),
      body,
      headersOfSubmission(submission, repeated),
      tryMs(timeoutMs),
      (error, sequence) => {
        if (!error || !mayPass(error)) done(error, sequence);
        else if (this.bus.closed) done(closed(error), 0);
        else {
          const leftMs = timeoutMs - (performance.now() - sentAt);
          void this.#storeAgain(submission, leftMs).then(
            (stored) => done(undefined, stored),
            (failure) => done(failure, 0),
          );
        }
      },
    );
  }

  #storeAgain(submission: Prepared, timeoutMs: number): Promise<number> {
    const { jobId, body } = submission;
    const headers = headersOfSubmission(submission, true);
    return patiently(this.bus, timeoutMs, (leftMs) =>
      this.bus.mux.publish(submitSubject(jobId), body, headers, leftMs),
    );
  }

  /** The job if it has ended; undefined if it has not, or if that cannot be said right now. */
  async #findEnd(jobId: string): Promise<JobView | undefined> {
    try {
      const job = await this.get(jobId);
      return job.finished_at === undefined ? undefined : await withResult(job, () => this.result(jobId));
    } catch (error) {
      if (mayPass(error)) return undefined;
      throw error;
    }
  }

  async #askJob(subject: string, request?: unknown, timeoutMs?: number): Promise<JobView> {
    return jobIn(await this.#requests.ask(subject, request, timeoutMs));
  }
}
