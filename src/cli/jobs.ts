/** The commands that talk about jobs and workers: thin covers of the client. */
import type { SubmittedJob } from "../api/requests.ts";
import { parseTags } from "../api/tags.ts";
import type { Client } from "../client/client.ts";
import { AsyncError } from "../job/errors.ts";
import { entryOf } from "../job/names.ts";
import { isRecord } from "../job/plain.ts";
import type { StateName } from "../job/state.ts";
import type { JobView } from "../job/view.ts";
import { describeFunctions, describeJob, describeJobs, describeWorkers } from "./describe.ts";
import { type EventsCommandOptions, printEvents } from "./events.ts";
import { EXIT } from "./exit.ts";
import { describeExplanation } from "./explain.ts";
import { readJobFile } from "./job-file.ts";
import type { ConnectionFlags } from "./options.ts";
import { parseJson, patchOf, type RetryFlags } from "./retry.ts";
import { WaitNotice } from "./wait-notice.ts";
import { print, toJson, withClient } from "./with-client.ts";

export interface CommonOptions extends ConnectionFlags {
  json?: true;
}

export interface SubmitCommandOptions extends CommonOptions {
  id?: string;
  /** The name of the one to run. */
  definition?: string;
  /** JSON. */
  data?: string;
  wait?: true;
}

/** `async submit` */
export async function submit(file: string | undefined, options: SubmitCommandOptions): Promise<void> {
  const { json, id, wait, definition, data, ...connection } = options;
  const { job, encoding } = await jobIn(file, definition, data);
  await withClient(connection, async (client) => {
    const submitted = await client.submit(job, { encoding, ...(id !== undefined && { jobId: id }) });
    if (submitted.existing) process.stderr.write(`${noteOf(submitted)}\n`);
    if (submitted.unconfirmed) process.stderr.write(`${UNCONFIRMED}\n`);
    await show(client, submitted, { json, wait });
  });
}

/** What is in the file, or the definition with that name; with those data, if there are any. @throws AsyncError `invalid_option` */
async function jobIn(file: string | undefined, name: string | undefined, data: string | undefined) {
  if (file === undefined && name === undefined) {
    throw new AsyncError("invalid_option", "missing required argument: the file of a job, or --definition <name>");
  }
  if (file !== undefined && name !== undefined) {
    throw new AsyncError("invalid_option", "name a file or --definition, not both");
  }
  const given = data === undefined ? {} : { data: parseJson("--data", data) };
  if (file === undefined) return { job: { name, ...given }, encoding: "json" as const };
  const { job, encoding } = await readJobFile(file);
  return { job: isRecord(job) ? { ...job, ...given } : job, encoding };
}

const UNCONFIRMED =
  "the job is stored, but no supervisor answers: it begins when one runs (`async server`), and it is not known whether the id existed";

function noteOf({ job_id, differs }: SubmittedJob): string {
  const other = differs ? `; it differs in its ${differs.join(" and ")} from what was submitted` : "";
  return `job ${job_id} exists already and is left as it is${other}`;
}

/** `async get` */
export async function get(id: string, { json, ...connection }: CommonOptions): Promise<void> {
  await withClient(connection, async (client) => printJob(await client.get(id), json));
}

/** `async result`: as JSON, whole, as it is for programs. */
export async function result(id: string, entry: string | undefined, connection: CommonOptions): Promise<void> {
  await withClient(connection, async (client) => {
    print(toJson(await client.result(id, entry === undefined ? undefined : entryOf(entry))));
  });
}

/** `async explain` */
export async function explain(id: string, { json, ...connection }: CommonOptions): Promise<void> {
  await withClient(connection, async (client) => {
    const explanation = await client.explain(id);
    print(json ? toJson(explanation) : describeExplanation(explanation));
  });
}

export interface CancelCommandOptions extends CommonOptions {
  undo?: "skip";
}

/** `async cancel` */
export async function cancel(id: string, { json, undo, ...connection }: CancelCommandOptions): Promise<void> {
  await withClient(connection, async (client) => {
    printJob(await client.cancel(id, undo === undefined ? {} : { undo }), json);
  });
}

export interface RetryCommandOptions extends CommonOptions, RetryFlags {
  wait?: true;
}

/** `async retry` */
export async function retry(id: string, options: RetryCommandOptions): Promise<void> {
  const { json, wait } = options;
  const patch = patchOf(options);
  await withClient(options, async (client) => {
    await show(client, await client.retry(id, patch), { json, wait });
  });
}

export interface SignalCommandOptions extends CommonOptions {
  key?: string;
}

/** `async signal` */
export async function signal(
  id: string,
  name: string,
  payload: string | undefined,
  { json, key, ...connection }: SignalCommandOptions,
): Promise<void> {
  const value = payload === undefined ? undefined : parseJson("the payload", payload);
  await withClient(connection, async (client) => {
    const reply = await client.signal(id, name, value, key === undefined ? {} : { key });
    const how = reply.repeated ? "was stored before" : "is stored";
    print(json ? toJson(reply) : `signal ${name} of job ${id} ${how}, as number ${reply.number}`);
  });
}

export interface ListCommandOptions extends CommonOptions {
  state?: StateName;
  /** Each `name:value`. */
  tag?: string[];
  limit: number;
  cursor?: string;
  newest?: true;
  children?: true;
  parent?: string;
}

/** `async list` */
export async function list(options: ListCommandOptions): Promise<void> {
  const { json, state, tag, limit, cursor, newest, children, parent } = options;
  const tags = tag && parseTags(tag);
  await withClient(options, async (client) => {
    const reply = await client.list({
      limit,
      ...(tags && { tags }),
      ...(state !== undefined && { state }),
      ...(cursor !== undefined && { cursor }),
      ...(newest && { order: "newest" }),
      ...(children && { children }),
      ...(parent !== undefined && { parent }),
    });
    print(json ? toJson(reply) : describeJobs(reply.jobs));
    if (!json && reply.next !== undefined) process.stderr.write(`there are more; go on with --cursor ${reply.next}\n`);
  });
}

/** `async workers` */
export async function workers({ json, ...connection }: CommonOptions): Promise<void> {
  await withClient(connection, async (client) => {
    const found = await client.workers();
    print(json ? toJson({ workers: found }) : describeWorkers(found));
  });
}

/** `async events` */
export async function events(
  id: string,
  { json, follow, limit, cursor, ...connection }: EventsCommandOptions & ConnectionFlags,
): Promise<void> {
  await withClient(connection, (client) => printEvents(client, id, { json, follow, limit, cursor }));
}

/** `async functions` */
export async function functions({ json, ...connection }: CommonOptions): Promise<void> {
  await withClient(connection, async (client) => {
    const reply = await client.functions();
    print(json ? toJson(reply) : describeFunctions(reply.functions));
  });
}

/** Shows a job that has been set going: as it is, or with `wait` as it ends. */
async function show(
  client: Client,
  begun: JobView,
  { json, wait }: { json: true | undefined; wait: true | undefined },
): Promise<void> {
  const job = wait ? await waitFor(client, begun.job_id) : begun;
  printJob(job, json);
  if (wait && job.state !== "completed") process.exitCode = EXIT.failed;
}

async function waitFor(client: Client, jobId: string): Promise<JobView> {
  const notice = new WaitNotice(client, jobId);
  try {
    return await client.wait(jobId);
  } finally {
    notice.close();
  }
}

function printJob(job: JobView, json: true | undefined): void {
  print(json ? toJson(job) : describeJob(job));
}
