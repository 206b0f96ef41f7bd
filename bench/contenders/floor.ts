/** The floor: bare loops on the bus, see bench/floor. */
import { decode } from "../../src/bus/messages/codec.ts";
import { monotonicUs } from "../clock.ts";
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
  FLOOR_CLOCK,
  FLOOR_ENDS,
  FLOOR_FUNCTION,
  FLOOR_JOBS,
  FLOOR_STATE,
  FLOOR_SUBMIT,
  makeFloorStreams,
  removeFloorStreams,
} from "../floor/streams.ts";
import { type StartedProcess, startNode } from "../process.ts";
import { type NatsServer, Observer } from "./nats.ts";

/** As many submissions are under way as the real client has. */
const IN_FLIGHT = 1_000;

export function floor(server: NatsServer): Contender {
  return { name: "floor", start: (setup) => start(server, setup) };
}

async function start(server: NatsServer, setup: Setup): Promise<Running> {
  const started: StartedProcess[] = [];
  const observer = await Observer.on(server.url);
  const { nc } = observer.bus;
  const close = async () => {
    for (let one = started.pop(); one; one = started.pop()) await one.stop();
    await removeFloorStreams(nc);
    await observer.close();
  };
  try {
    await makeFloorStreams(nc, await observer.replicas());
    for (let i = 0; i < setup.workers; i++) started.push(await startFloor(server, "worker", "is serving"));
    for (let i = 0; i < setup.supervisors; i++) started.push(await startFloor(server, "supervisor", "is running"));
  } catch (error) {
    await close();
    throw error;
  }
  const inbox = new Inbox(nc, "_INBOX_floor.client");
  let single: Promise<FloorJobs> | undefined;
  let loads = 0;
  return {
    processes: [...started, ...server.processes, { role: "client", pid: process.pid }],
    run: (load) => runLoad(observer, inbox, `l${loads++}`, load),
    once: async () => {
      single ??= FloorJobs.open(observer, inbox);
      return (await single).once();
    },
    storedBytes: () => observer.bytes([FLOOR_JOBS, FLOOR_STATE]),
    close,
  };
}

/** Jobs that are waited for. Their results are the times at which their functions began. */
class FloorJobs {
  readonly #inbox: Inbox;
  readonly #waiting = new Map<string, (startedUs: number) => void>();
  #count = 0;

  private constructor(inbox: Inbox) {
    this.#inbox = inbox;
  }

  static async open({ bus }: Observer, inbox: Inbox): Promise<FloorJobs> {
    const jobs = new FloorJobs(inbox);
    bus.nc.subscribe(`${FLOOR_ENDS}.*`, {
      callback: (_, message) => {
        const id = message.subject.slice(FLOOR_ENDS.length + 1);
        jobs.#waiting.get(id)?.(message.json<number>());
        jobs.#waiting.delete(id);
      },
    });
    await bus.flush();
    return jobs;
  }

  async once(): Promise<{ startedMs: number; doneMs: number }> {
    const id = `once-${this.#count++}`;
    const calledUs = monotonicUs();
    const end = new Promise<{ startedUs: number; atUs: number }>((resolve) => {
      this.#waiting.set(id, (startedUs) => resolve({ startedUs, atUs: monotonicUs() }));
    });
    const body = JSON.stringify({ name: "bench-once", functions: [{ name: FLOOR_CLOCK }], data: null, tell: true });
    await new Promise<void>((resolve) => {
      this.#inbox.request(`${FLOOR_SUBMIT}.${id}`, body, undefined, (ack) => {
        sequenceIn(ack);
        resolve();
      });
    });
    const { startedUs, atUs } = await end;
    if (!(startedUs >= calledUs && startedUs <= atUs)) {
      throw new WrongResults(`the floor's job ${id} has a wrong result: ${startedUs}`);
    }
    return { startedMs: (startedUs - calledUs) / 1_000, doneMs: (atUs - calledUs) / 1_000 };
  }
}

function startFloor({ url }: NatsServer, role: "supervisor" | "worker", ready: string): Promise<StartedProcess> {
  return startNode({ role, args: ["--import", "tsx", `bench/floor/${role}.ts`], env: { NATS_URL: url }, ready });
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
  for await (const { subject, data } of observer.messages(FLOOR_STATE, from)) {
    const state = decode(data, "msgpack") as { state: string; functions: { result: unknown }[] };
    const number = Number(subject.slice(subject.lastIndexOf("-") + 1));
    const right = state.state === "completed" && state.functions.every((fn, i) => fn.result === resultOf(number, i));
    if (!right || state.functions.length !== functions) throw new WrongResults(`the floor's job ${number} is wrong`);
    seen += 1;
  }
  if (seen !== jobs) throw new WrongResults(`the floor has ${seen} ended jobs of ${jobs}`);
}
