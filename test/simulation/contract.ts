/**
 * What our code relies on in a NATS server, as questions that are asked of the model and of a real server alike: a model
 * that answers otherwise proves nothing.
 *
 * CONTRACT-1  A scenario tells only what has to be the same: no sequences, and of times whether something was early or in time.
 * CONTRACT-2  It finds the work-queue streams empty, and uses names of its own elsewhere.
 * CONTRACT-3  `expected` is what a real server says. Where the model is known to say something else, `model` says what: a gap,
 *     to be closed, after which `model` goes.
 */
import type { Msg } from "nats";
import { expectSequence, headersOf } from "../../src/bus/wire/headers.ts";
import { STORAGE_SCENARIOS } from "./contract-storage.ts";
import { delivered, deliveries, described, outcome, type Scenario, SOON_MS, type Stored, sleep } from "./probe.ts";

/** `ack_wait` of the consumers. */
export const ACK_WAIT_MS = 1_000;

const schedule = (target: string, inMs: number, id?: string) =>
  headersOf({
    "Nats-Schedule": `@at ${new Date(Date.now() + inMs).toISOString()}`,
    "Nats-Schedule-Target": target,
    ...(id !== undefined && { "Nats-Msg-Id": id }),
  });

export const SCENARIOS: Scenario[] = [
  ...STORAGE_SCENARIOS,
  {
    name: "a write is stored only on the newest revision of its key, and replaces it",
    tell: async (probe) => {
      const key = "$KV.jobs.contract-cas";
      const first = await probe.store(key, "one", expectSequence(0));
      const refused = await probe.store(key, "two", expectSequence(0));
      const told = refused.error?.description === `wrong last sequence: ${first.seq}`;
      const second = await probe.store(key, "three", expectSequence(first.seq ?? 0));
      return [
        ...[first, refused, second].map(outcome),
        `tells the newest: ${told}`,
        await probe.read("KV_jobs", key),
        await probe.readAt("KV_jobs", first.seq),
        await probe.readAt("KV_jobs", second.seq),
        await probe.read("KV_jobs", "$KV.jobs.contract-none"),
      ];
    },
    expected: ["stored", "400 10071", "stored", "tells the newest: true", "three", "404", "three", "404"],
  },
  {
    name: "the same message id is stored once; an expected revision is looked at before that",
    tell: async (probe) => {
      const subject = "job.wait.contract.dup";
      const id = (value: string) => headersOf({ "Nats-Msg-Id": value });
      const first = await probe.store(subject, "1", id("dup-1"));
      const again = await probe.store(subject, "2", id("dup-1"));
      const both = headersOf({ "Nats-Msg-Id": "dup-1", "Nats-Expected-Last-Subject-Sequence": "0" });
      const other = await probe.store(subject, "3", id("dup-2"));
      return [
        ...[first, again, await probe.store(subject, "4", both), other].map(outcome),
        `the first one's sequence: ${again.seq === first.seq}`,
        await probe.readAt("TIMERS", first.seq),
        await probe.read("TIMERS", subject),
      ];
    },
    expected: ["stored", "duplicate", "400 10071", "stored", "the first one's sequence: true", "1", "3"],
  },
  {
    name: "a schedule turns into a message on its target, in time",
    tell: async (probe) => {
      const set = await probe.store("job.timer.contract-at", "7", schedule("job.wake.contract-at", 500));
      const early = await probe.read("TIMERS", "job.wake.contract-at");
      await sleep(900);
      return [
        outcome(set),
        early,
        await probe.read("TIMERS", "job.wake.contract-at"),
        await probe.read("TIMERS", "job.timer.contract-at"),
      ];
    },
    expected: ["stored", "404", "7", "404"],
  },
  {
    name: "a schedule beyond the year 9999 is refused, and the one on its subject stays",
    tell: async (probe) => {
      const [timer, wake] = ["job.timer.contract-far", "job.wake.contract-far"];
      const set = await probe.store(timer, "1", schedule(wake, 3_600_000));
      const year10000 = schedule(wake, Date.UTC(10_000, 0, 1) - Date.now() + 1_000);
      return [set, await probe.store(timer, "2", year10000)].map(outcome).concat(await probe.read("TIMERS", timer));
    },
    expected: ["stored", "400 10189", "1"],
  },
  {
    name: "a schedule replaces the one on its subject; one that is set again after it has fired changes nothing",
    tell: async (probe) => {
      const [timer, wake] = ["job.timer.contract-two", "job.wake.contract-two"];
      const old = await probe.store(timer, "1", schedule(wake, 200, "two:1"));
      const replaced = await probe.store(timer, "2", schedule(wake, 300, "two:2"));
      const gone = await probe.readAt("TIMERS", old.seq);
      await sleep(800);
      const again = await probe.store(timer, "2", schedule(wake, 0, "two:2"));
      await sleep(500);
      const wakes = await probe.ask(
        "$JS.API.DIRECT.GET.TIMERS",
        JSON.stringify({ seq: 1, batch: 5, next_by_subj: wake }),
      );
      return [...[old, replaced, again].map(outcome), gone, ...wakes.map(described)];
    },
    expected: ["stored", "stored", "duplicate", "404", "2", "204"],
  },
  {
    name: "a schedule in the past fires at once; a message on its target may be refused by what is there",
    tell: async (probe) => {
      const wake = "job.wake.contract-past";
      const set = await probe.store("job.timer.contract-past", "3", schedule(wake, -60_000));
      await sleep(400);
      const second = await probe.store(wake, "4", expectSequence(0));
      return [outcome(set), await probe.read("TIMERS", wake), outcome(second)];
    },
    expected: ["stored", "3", "400 10071"],
  },
  {
    name: "a message that is not acked in time is delivered again, one that is acked is gone",
    tell: async (probe) => {
      const { seq } = await probe.store("job.submit.contract-ack", "job");
      const first = probe.pull("JOBS", 2);
      await sleep(0.7 * ACK_WAIT_MS);
      const early = deliveries(first);
      await sleep(0.6 * ACK_WAIT_MS);
      const again = deliveries(first);
      first.at(-1)?.respond();
      await sleep(SOON_MS);
      return [early, again, await probe.readAt("JOBS", seq)];
    },
    expected: ["job 1", "job 1, job 2", "404"],
  },
  {
    name: "a delivery that is worked at is not delivered again while it is",
    tell: async (probe) => {
      await probe.store("job.submit.contract-wpi", "job");
      const pulled = probe.pull("JOBS", 2);
      for (let i = 0; i < 3; i++) {
        await sleep(0.6 * ACK_WAIT_MS);
        pulled[0]?.respond("+WPI");
      }
      const kept = deliveries(pulled);
      await sleep(1.4 * ACK_WAIT_MS);
      return [kept, deliveries(pulled)];
    },
    expected: ["job 1", "job 1, job 2"],
  },
  {
    name: "an extension is confirmed, also to one who has the message no more: that proves a connection, not a lease",
    tell: async (probe) => {
      const other = await probe.another();
      await probe.store("job.submit.contract-confirm", "job");
      const mine = probe.pull("JOBS", 1);
      await sleep(SOON_MS);
      const extend = async () => (await probe.ask(mine[0]?.reply ?? "", "+WPI")).map(described);
      const held = await extend();
      const theirs = other.pull("JOBS", 1);
      await sleep(1.4 * ACK_WAIT_MS);
      const overtaken = await extend();
      theirs[0]?.respond();
      await sleep(SOON_MS);
      const gone = await extend();
      return [deliveries(theirs), ...[held, overtaken, gone].map((answers) => `${answers.length} "${answers}"`)];
    },
    expected: ["job 2", '1 ""', '1 ""', '1 ""'],
  },
  {
    name: "an extension that comes too late is confirmed, but the message is delivered to whoever asks next",
    tell: async (probe) => {
      const other = await probe.another();
      await probe.store("job.submit.contract-tardy", "job");
      const mine = probe.pull("JOBS", 1);
      await sleep(1.4 * ACK_WAIT_MS);
      const answers = await probe.ask(mine[0]?.reply ?? "", "+WPI");
      const theirs = other.pull("JOBS", 1);
      await sleep(SOON_MS);
      return [`${answers.length} "${answers.map(described)}"`, deliveries(theirs)];
    },
    expected: ['1 ""', "job 2"],
  },
  {
    name: "what is given back is delivered at once, before what is new",
    tell: async (probe) => {
      await probe.store("job.submit.contract-nak", "first");
      await probe.store("job.submit.contract-nak2", "second");
      const one = probe.pull("JOBS", 1);
      await sleep(SOON_MS);
      one[0]?.respond("-NAK");
      await sleep(SOON_MS);
      const two = probe.pull("JOBS", 2);
      await sleep(SOON_MS);
      return [deliveries(one), deliveries(two)];
    },
    expected: ["first 1", "first 2, second 1"],
  },
  {
    name: "acks are not fenced: that of an earlier delivery removes what somebody else has by now",
    tell: async (probe) => {
      const other = await probe.another();
      const { seq } = await probe.store("job.submit.contract-stale", "job");
      const mine = probe.pull("JOBS", 1);
      await sleep(SOON_MS);
      const theirs = other.pull("JOBS", 2);
      await sleep(1.3 * ACK_WAIT_MS);
      mine[0]?.respond();
      await sleep(SOON_MS);
      const gone = await probe.readAt("JOBS", seq);
      await sleep(1.3 * ACK_WAIT_MS);
      return [deliveries(mine), deliveries(theirs), gone];
    },
    expected: ["job 1", "job 2", "404"],
  },
  {
    name: "an ack that comes after its time, before anybody else has the message, still removes it",
    tell: async (probe) => {
      const { seq } = await probe.store("job.submit.contract-late", "job");
      const pulled = probe.pull("JOBS", 1);
      await sleep(1.5 * ACK_WAIT_MS);
      pulled[0]?.respond();
      await sleep(SOON_MS);
      return [deliveries(pulled), await probe.readAt("JOBS", seq)];
    },
    expected: ["job 1", "404"],
    model: ["job 1", "job"],
  },
  {
    name: "an ack removes what was given back and waits for somebody to ask for it",
    tell: async (probe) => {
      const { seq } = await probe.store("job.submit.contract-nakack", "job");
      const pulled = probe.pull("JOBS", 1);
      await sleep(SOON_MS);
      pulled[0]?.respond("-NAK");
      await sleep(SOON_MS);
      pulled[0]?.respond();
      await sleep(SOON_MS);
      return [deliveries(pulled), await probe.readAt("JOBS", seq)];
    },
    expected: ["job 1", "404"],
    model: ["job 1", "job"],
  },
  {
    name: "those who ask take turns",
    tell: async (probe) => {
      const other = await probe.another();
      const [mine, theirs] = [probe.pull("JOBS", 4), other.pull("JOBS", 4)];
      await sleep(SOON_MS);
      for (const name of ["a", "b", "c", "d"]) await probe.store(`job.submit.contract-turn-${name}`, name);
      return [`${delivered(mine).length} and ${delivered(theirs).length}`];
    },
    expected: ["2 and 2"],
    model: ["4 and 0"],
  },
  {
    name: "a message that is deleted while somebody has it is not delivered again",
    tell: async (probe) => {
      const { seq } = await probe.store("job.submit.contract-del", "job");
      const pulled = probe.pull("JOBS", 2);
      await sleep(SOON_MS);
      const query = JSON.stringify({ seq, no_erase: true });
      const [reply] = await probe.ask("$JS.API.STREAM.MSG.DELETE.JOBS", query);
      await sleep(1.5 * ACK_WAIT_MS);
      return [`deleted: ${reply?.json<{ success?: boolean }>().success}`, deliveries(pulled)];
    },
    expected: ["deleted: true", "job 1"],
  },
  {
    name: "a pull tells that it is there while it is, and what was left of it at its end",
    tell: async (probe) => {
      await probe.store("job.submit.contract-pull", "job");
      const pulled = probe.pull("JOBS", 3, 1_200);
      await sleep(900);
      pulled[0]?.respond();
      const beats = pulled.filter(({ headers }) => headers?.code === 100).length;
      await sleep(900);
      const end = pulled.at(-1)?.headers;
      return [
        `heartbeats: ${beats > 0}`,
        `${end?.code} ${end?.description}, ${end?.get("Nats-Pending-Messages")} left`,
      ];
    },
    expected: ["heartbeats: true", "408 Request Timeout, 2 left"],
  },
  {
    name: "a wake is delivered, a place of a backlog is not",
    tell: async (probe) => {
      await probe.store("job.wait.contract.fed", "1");
      await probe.store("job.wake.contract-fed", "2");
      const pulled = probe.pull("TIMERS", 5);
      await sleep(SOON_MS);
      return [deliveries(pulled)];
    },
    expected: ["2 1"],
  },
  {
    name: "a batch is read in order, each message names the one before it, and its end is told",
    tell: async (probe) => {
      const filter = "job.wait.contract-batch.*";
      const sequences: number[] = [];
      for (const id of ["a", "b", "c"]) {
        sequences.push((await probe.store(`job.wait.contract-batch.${id}`, id)).seq ?? 0);
        await probe.store(`job.wait.other.${id}`, "other");
      }
      const page = async (seq: number, batch: number) => {
        const query = JSON.stringify({ seq, batch, next_by_subj: filter });
        const messages = await probe.ask("$JS.API.DIRECT.GET.TIMERS", query);
        return messages.map((message) => {
          const before = sequences.indexOf(Number(message.headers?.get("Nats-Last-Sequence"))) + 1;
          const left = message.headers?.code === 0 ? message.headers.get("Nats-Num-Pending") : "";
          return `${described(message)} after ${before} ${left}`.trim();
        });
      };
      const last = sequences.at(-1) ?? 0;
      return [
        ...(await page(1, 2)),
        "-",
        ...(await page((sequences[1] ?? 0) + 1, 2)),
        "-",
        ...(await page(last + 1, 2)),
      ];
    },
    expected: ["a after 0 2", "b after 1 1", "204 after 2", "-", "c after 0 0", "204 after 3", "-", "404 after 0"],
  },
  {
    name: "the first message from a sequence on is one answer; a stream tells how far it has come",
    tell: async (probe) => {
      const { seq = 0 } = await probe.store("job.wait.contract-next.a", "a");
      const [info] = await probe.ask("$JS.API.STREAM.INFO.TIMERS", "");
      const last = info?.json<{ state: { last_seq: number } }>().state.last_seq ?? 0;
      const next = (from: number) =>
        probe.ask("$JS.API.DIRECT.GET.TIMERS", JSON.stringify({ seq: from, next_by_subj: ">" }));
      return [`last ${last - seq}`, ...(await next(seq)).map(described), ...(await next(seq + 1)).map(described)];
    },
    expected: ["last 0", "a", "404"],
  },
  {
    name: "a message is read with the headers that it was stored with",
    tell: async (probe) => {
      const key = "$KV.jobs.contract-headers";
      await probe.store(key, "one", headersOf({ "Async-Parent": '{"job_id":"p"}' }));
      const [byKey] = await probe.ask(`$JS.API.DIRECT.GET.KV_jobs.${key}`);
      return [
        byKey?.string() ?? "",
        byKey?.headers?.get("Async-Parent") ?? "",
        byKey?.headers?.get("Nats-Subject") ?? "",
      ];
    },
    expected: ["one", '{"job_id":"p"}', "$KV.jobs.contract-headers"],
  },
  {
    name: "a stream lists the subjects that fit a filter",
    tell: async (probe) => {
      for (const id of ["a", "b"]) await probe.store(`job.wait.contract-list.${id}`, id);
      const query = JSON.stringify({ subjects_filter: "job.wait.contract-list.>", offset: 0 });
      const [reply] = await probe.ask("$JS.API.STREAM.INFO.TIMERS", query);
      return Object.keys(reply?.json<{ state: { subjects?: object } }>().state.subjects ?? {}).sort();
    },
    expected: ["job.wait.contract-list.a", "job.wait.contract-list.b"],
  },
  {
    name: "a request that nobody takes is answered 503, without a body; one that a stream takes is not",
    tell: async (probe) => {
      const [nobody] = await probe.ask("fn.contract-nobody", "?");
      const heard = probe.listen("job.event.contract.*");
      const answers = await probe.ask("job.event.contract.failed", "!");
      return [
        `${nobody?.headers?.code} ${nobody?.data.length}`,
        `heard ${heard.map(described)}, ${answers.length} answer, stored: ${answers[0]?.json<Stored>().seq !== undefined}`,
      ];
    },
    expected: ["503 0", "heard !, 1 answer, stored: true"],
  },
  {
    name: "one of a queue group gets a message, and everybody who is in none",
    tell: async (probe) => {
      const other = await probe.another();
      const groups = [probe.listen("fn.contract-q", "fn"), other.listen("fn.contract-q", "fn")];
      const all = [probe.listen("fn.contract-q"), other.listen("fn.*")];
      await sleep(SOON_MS);
      for (let i = 0; i < 20; i++) probe.nc.publish("fn.contract-q", String(i));
      await sleep(SOON_MS);
      const [a = 0, b = 0] = groups.map(({ length }) => length);
      return [`${a + b}, each some: ${a > 0 && b > 0}`, ...all.map(({ length }) => String(length))];
    },
    expected: ["20, each some: true", "20", "20"],
  },
  {
    name: "a subscription that is drained answers what was on its way, and gets nothing after that",
    tell: async (probe) => {
      const other = await probe.another();
      const heard: string[] = [];
      const subscription = probe.nc.subscribe("fn.contract-drain", {
        callback: (_, message) => void heard.push(message.string()),
      });
      await sleep(SOON_MS);
      other.nc.publish("fn.contract-drain", "before");
      await other.nc.flush();
      await subscription.drain();
      other.nc.publish("fn.contract-drain", "after");
      await sleep(SOON_MS);
      return heard;
    },
    expected: ["before"],
  },
  {
    name: "what is not permitted is told by the status; a subscription that was taken away does not come back with the permission",
    tell: async (probe) => {
      const limited = await probe.ofLimited();
      const errors = limited.errors();
      const [kept, lost] = [limited.listen("fn.contract-kept"), limited.listen("fn.contract-lost", "fn")];
      const out = probe.listen("fn.contract-out");
      await sleep(SOON_MS);
      const round = async (name: string) => {
        limited.nc.publish("fn.contract-out", name);
        for (const subject of ["fn.contract-kept", "fn.contract-lost"]) probe.nc.publish(subject, name);
        await sleep(SOON_MS);
      };
      await round("before");
      await limited.limited.deny("subscription", "fn.contract-lost");
      await limited.limited.deny("publish", "fn.contract-out");
      await round("denied");
      const [answer] = await limited.ask("fn.contract-out");
      await limited.limited.permit();
      await round("permitted");
      const anew = limited.listen("fn.contract-lost", "fn");
      await sleep(SOON_MS);
      await round("anew");
      const words = (heard: Msg[]) => heard.map(described).join(" ");
      return [...[out, kept, lost, anew].map(words), described(answer), ...errors];
    },
    expected: [
      "before permitted anew",
      "before denied permitted anew",
      "before",
      "anew",
      "nothing",
      "subscription fn.contract-lost fn",
      "publish fn.contract-out",
      "publish fn.contract-out",
    ],
  },
  {
    name: "what is larger than the server takes is refused before it is sent",
    tell: async (probe) => {
      try {
        probe.nc.publish("fn.contract-large", new Uint8Array(1024 ** 2 + 1));
        return ["sent"];
      } catch (error) {
        return [
          error instanceof Error && error.message.includes("max_payload size exceeded") ? "refused" : String(error),
        ];
      }
    },
    expected: ["refused"],
  },
];
