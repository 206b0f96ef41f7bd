/**
 * The least that a supervisor must do: take a job, claim it, run its functions one after the other with a commit after
 * each, acknowledge it. It survives nothing: it is what the real one is measured against.
 */
import { Packr } from "msgpackr";
import { connect, type Msg } from "nats";
import { untilTold } from "../until-told.ts";
import { Inbox, rawHeaders, sequenceIn } from "./inbox.ts";
import { FLOOR_CONSUMER, FLOOR_ENDS, FLOOR_JOBS, FLOOR_KEYS, FLOOR_SUBMIT } from "./streams.ts";

/** As many jobs in memory as a supervisor has by default. */
const LIVE_JOBS = 2_000;
const BATCH = 500;
const EXPIRES_NANOS = 30_000_000_000;

interface Job {
  id: string;
  name: string;
  data: unknown;
  functions: { name: string; args: unknown; result?: unknown }[];
  current: number;
  state: string;
}

const packr = new Packr({ useRecords: false });
const nc = await connect({ servers: process.env.NATS_URL ?? "", noAsyncTraces: true });
/** Of this process alone: several supervisors would hear each other's replies. */
const own = `_INBOX_floor.${process.pid}`;
const inbox = new Inbox(nc, `${own}.supervisor`);
const pulls = `${own}.pull`;
const claim = rawHeaders("Nats-Expected-Last-Subject-Sequence: 0");
/** Jobs whose ends are to be told. */
const awaited = new Set<string>();
let asked = 0;
let live = 0;

nc.subscribe(`${pulls}.*`, {
  callback: (_, message) => {
    if (message.headers?.code) {
      // The pull has ended; what it had not delivered is not to be expected any more.
      asked -= Number(message.headers.get("Nats-Pending-Messages") || 0);
      pull();
      return;
    }
    asked -= 1;
    live += 1;
    take(message);
    pull();
  },
});
pull();
await nc.flush();
process.stdout.write("the floor's supervisor is running\n");
untilTold(() => nc.close());

function pull(): void {
  const want = Math.min(LIVE_JOBS - live - asked, LIVE_JOBS - asked);
  if (want < BATCH) return;
  asked += want;
  const query = JSON.stringify({ batch: want, expires: EXPIRES_NANOS });
  nc.publish(`$JS.API.CONSUMER.MSG.NEXT.${FLOOR_JOBS}.${FLOOR_CONSUMER}`, query, { reply: `${pulls}.1` });
}

function take(message: Msg): void {
  const submission = message.json<Pick<Job, "name" | "data" | "functions"> & { tell?: boolean }>();
  const job: Job = {
    id: message.subject.slice(FLOOR_SUBMIT.length + 1),
    name: submission.name,
    data: submission.data ?? null,
    functions: submission.functions,
    current: 0,
    state: "running",
  };
  if (submission.tell) awaited.add(job.id);
  inbox.request(`${FLOOR_KEYS}.${job.id}`, packr.pack(job), claim, (ack) => invoke(message, job, sequenceIn(ack)));
}

function invoke(message: Msg, job: Job, revision: number): void {
  const fn = job.functions[job.current];
  const results = job.functions.slice(0, job.current).map(({ result }) => result);
  const body = JSON.stringify({ job_id: job.id, function: fn?.name, args: fn?.args, data: job.data, results });
  inbox.request(fn?.name ?? "", body, undefined, (reply) => {
    if (reply.headers) throw new Error("the floor's worker is gone");
    if (fn) fn.result = reply.json();
    const last = job.current === job.functions.length - 1;
    if (last) job.state = "completed";
    else job.current += 1;
    const expected = rawHeaders(`Nats-Expected-Last-Subject-Sequence: ${revision}`);
    inbox.request(`${FLOOR_KEYS}.${job.id}`, packr.pack(job), expected, (ack) => {
      const next = sequenceIn(ack);
      if (last) end(message, job);
      else invoke(message, job, next);
    });
  });
}

function end(message: Msg, job: Job): void {
  if (awaited.delete(job.id)) nc.publish(`${FLOOR_ENDS}.${job.id}`, JSON.stringify(job.functions.at(-1)?.result));
  message.respond();
  live -= 1;
  pull();
}
