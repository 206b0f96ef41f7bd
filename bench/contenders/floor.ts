/** The floor: bare loops on the bus, see bench/floor. */
import { decode } from "../../src/bus/codec.ts";
import {
  type Contender,
  functionsOf,
  type Load,
  payloadOf,
  type Round,
  type Running,
  resultOf,
  type Setup,
  WrongResults,
} from "../contender.ts";
import { Inbox, sequenceIn } from "../floor/inbox.ts";
import {
  FLOOR_FUNCTION,
  FLOOR_JOBS,
  FLOOR_KEYS,
  FLOOR_STATE,
  FLOOR_SUBMIT,
  makeFloorStreams,
} from "../floor/streams.ts";
import { type StartedProcess, startNode } from "../process.ts";
import { type NatsServer, Observer } from "./nats.ts";

/** As many submissions are under way as the real client has. */
const IN_FLIGHT = 1_000;

export function floor(server: NatsServer): Contender {
  return { name: "floor", start: (setup) => start(server, setup) };
}

async function start(server: NatsServer, { supervisors, workers }: Setup): Promise<Running> {
  const started: StartedProcess[] = [];
  const observer = await Observer.on(server.url);
  await makeFloorStreams(observer.bus.nc);
  const run = (role: "supervisor" | "worker", script: string, ready: string) =>
    startNode({ role, args: ["--import", "tsx", script], env: { NATS_URL: server.url }, ready });
  for (let i = 0; i < workers; i++) started.push(await run("worker", "bench/floor/worker.ts", "is serving"));
  for (let i = 0; i < supervisors; i++) {
    started.push(await run("supervisor", "bench/floor/supervisor.ts", "is running"));
  }
  const inbox = new Inbox(observer.bus.nc, "_INBOX_floor.client");
  let loads = 0;
  return {
    processes: [...started, ...server.processes, { role: "client", pid: process.pid }],
    run: (load) => runLoad(observer, inbox, `l${loads++}`, load),
    storedBytes: () => observer.bytes([FLOOR_JOBS, FLOOR_STATE]),
    close: async () => {
      for (const one of started.reverse()) await one.stop();
      await observer.close();
    },
  };
}

async function runLoad(observer: Observer, inbox: Inbox, label: string, load: Load): Promise<Round> {
  const from = (await observer.lastSequence(FLOOR_STATE)) + 1;
  const begun = performance.now();
  await submitAll(inbox, label, load);
  const submittedMs = performance.now() - begun;
  await observer.untilEmpty(FLOOR_JOBS);
  const doneMs = performance.now() - begun;
  return { submittedMs, doneMs, check: () => check(observer, from, load) };
}

function submitAll(inbox: Inbox, label: string, { jobs, functions, payloadBytes }: Load): Promise<void> {
  const data = payloadOf(payloadBytes);
  return new Promise((resolve) => {
    let next = 0;
    let acknowledged = 0;
    const submit = () => {
      const number = next++;
      const body = JSON.stringify({ name: "bench", functions: functionsOf(FLOOR_FUNCTION, number, functions), data });
      inbox.request(`${FLOOR_SUBMIT}.${label}-${number}`, body, undefined, (ack) => {
        sequenceIn(ack);
        acknowledged += 1;
        if (next < jobs) submit();
        else if (acknowledged === jobs) resolve();
      });
    };
    for (let i = 0; i < Math.min(IN_FLIGHT, jobs); i++) submit();
  });
}

async function check(observer: Observer, from: number, { jobs, functions }: Load): Promise<void> {
  let seen = 0;
  for await (const { subject, data } of observer.messages(FLOOR_STATE, `${FLOOR_KEYS}.>`, from)) {
    const state = decode(data, "msgpack") as { state: string; functions: { result: unknown }[] };
    const number = Number(subject.slice(subject.lastIndexOf("-") + 1));
    const right = state.state === "completed" && state.functions.every((fn, i) => fn.result === resultOf(number, i));
    if (!right || state.functions.length !== functions) throw new WrongResults(`the floor's job ${number} is wrong`);
    seen += 1;
  }
  if (seen !== jobs) throw new WrongResults(`the floor has ${seen} ended jobs of ${jobs}`);
}
