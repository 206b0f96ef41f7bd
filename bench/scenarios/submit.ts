/** Submissions alone: the client against a bare loop that publishes the same bytes on the same subjects. */

import { submitSubject } from "../../src/api/subjects.ts";
import { deleteMessage } from "../../src/bus/store/stream-read.ts";
import { JOBS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { RandomText } from "../../src/util/random-text.ts";
import { checkSubmissions } from "../check.ts";
import { functionsOf, payloadOf } from "../contender.ts";
import { FUNCTION } from "../contenders/async.ts";
import { Observer, pooled } from "../contenders/nats.ts";
import { Inbox, sequenceIn } from "../floor/inbox.ts";
import { median } from "../measure.ts";
import type { Context, Scenario } from "../scenario.ts";
import { BULK_IN_FLIGHT, submitBulk, submitSingly } from "../submissions.ts";
import type { Table } from "../table.ts";

/** The jobs by number, under their ids. */
interface Job {
  id: string;
  body: object;
}

interface Mode {
  title: string;
  jobs: number;
  client: (jobs: readonly Job[]) => Promise<string[]>;
  bare: (jobs: readonly Job[]) => Promise<string[]>;
}

const SINGLY_IN_FLIGHT = 100;
/** One at a time is so much slower that it gets this part of the jobs. */
const ONE_BY_ONE_SHARE = 10;
const DELETES_IN_FLIGHT = 1_000;

export const submit: Scenario = {
  name: "submit",
  description: "acknowledged submissions, one by one and in bulk, without a supervisor, against a bare loop",
  numbers: { jobs: 30_000, payload: 0, rounds: 5 },
  run: async (context) => {
    const observer = await Observer.on(context.server.url);
    await context.scope.add(() => observer.close());
    if (await observer.isServed()) {
      throw new Error("a supervisor is running there and would take the submissions; stop it, or leave out --nats");
    }
    const modes = modesOf(observer, context.numbers.jobs);
    const rates = modes.map(() => ({ client: [] as number[], bare: [] as number[] }));
    const { rounds } = context.numbers;
    for (let round = -1; round < rounds; round++) {
      for (const [i, mode] of modes.entries()) {
        context.progress.show(`submit: ${mode.title}`, (round + 1) * modes.length + i, (rounds + 1) * modes.length);
        const sides = ["client", "bare"] as const;
        for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
          const rate = await measure(context, observer, mode.jobs, mode[side]);
          if (round >= 0) rates[i]?.[side].push(rate); // the first is to warm up
        }
      }
    }
    return [tableOf(modes, rates)];
  },
};

function modesOf({ bus }: Observer, jobs: number): Mode[] {
  const client = new Client(bus);
  const inbox = new Inbox(bus.nc, "_INBOX_bare.client");
  const publish = ({ id, body }: Job) =>
    new Promise<void>((resolve, reject) => {
      inbox.request(submitSubject(id), JSON.stringify(body), undefined, (ack) => {
        try {
          sequenceIn(ack);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  const inputOf = (all: readonly Job[]) => (number: number) => all[number]?.body;
  const bare = (inFlight: number) => async (all: readonly Job[]) => {
    await pooled(all.length, inFlight, (number) => publish(all[number] as Job));
    return all.map(({ id }) => id);
  };
  const singly = (title: string, count: number, inFlight: number): Mode => ({
    title,
    jobs: count,
    client: (all) => submitSingly(client, all.length, inFlight, inputOf(all)),
    bare: bare(inFlight),
  });
  return [
    singly("one at a time", Math.ceil(jobs / ONE_BY_ONE_SHARE), 1),
    singly(`${SINGLY_IN_FLIGHT} in flight`, jobs, SINGLY_IN_FLIGHT),
    {
      title: `bulk, ${BULK_IN_FLIGHT.toLocaleString("en")} in flight`,
      jobs,
      client: (all) => submitBulk(client, all.length, inputOf(all)),
      bare: bare(BULK_IN_FLIGHT),
    },
  ];
}

/** Submissions per second. What is stored is checked, and then removed: nobody is going to execute it. */
async function measure(
  { numbers: { payload } }: Context,
  observer: Observer,
  count: number,
  run: (jobs: readonly Job[]) => Promise<string[]>,
): Promise<number> {
  const data = payload > 0 ? { data: payloadOf(payload) } : {};
  const random = new RandomText(16);
  const jobs = Array.from({ length: count }, (_, number) => ({
    id: `bare-${random.next()}`,
    body: { name: "bench", functions: functionsOf(FUNCTION, number, 1), ...data },
  }));
  const from = (await observer.lastSequence(JOBS)) + 1;
  const begun = performance.now();
  const ids = await run(jobs);
  const rate = (count / (performance.now() - begun)) * 1_000;
  const ledger = new Map(ids.map((id, number) => [id, number]));
  const stored = observer.messages(JOBS, from);
  const sequences = await checkSubmissions(stored, ledger, (number) => JSON.stringify(jobs[number]?.body));
  await pooled(count, DELETES_IN_FLIGHT, (index) => deleteMessage(observer.bus, JOBS, sequences[index] as number));
  return rate;
}

function tableOf(
  modes: readonly Mode[],
  rates: readonly { client: readonly number[]; bare: readonly number[] }[],
): Table {
  return {
    title: "submit: acknowledged submissions",
    columns: [
      { key: "mode", title: "" },
      { key: "jobs", title: "jobs" },
      { key: "clientPerSecond", title: "client/s" },
      { key: "barePerSecond", title: "bare loop/s" },
      { key: "ratio", title: "ratio", digits: 2 },
    ],
    rows: modes.map(({ title, jobs }, i) => {
      const { client = [], bare = [] } = rates[i] ?? {};
      return {
        mode: title,
        jobs,
        clientPerSecond: median(client),
        barePerSecond: median(bare),
        ratio: median(client.map((rate, round) => rate / (bare[round] ?? Number.NaN))),
      };
    }),
    notes: ["medians of the rounds, in turn; every submission was found stored as it was sent"],
  };
}
