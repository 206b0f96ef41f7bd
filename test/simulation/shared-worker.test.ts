/**
 * Workers of several functions at capacity, in virtual time.
 *
 * SIM-9  The first in the line of a function begins within two executions of the slowest function that the same workers serve,
 *     however many wait for that, and some turns.
 */
import type { NatsConnection } from "nats";
import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { Client } from "../../src/client/client.ts";
import { Turns } from "../../src/worker/turns.ts";
import { Worker } from "../../src/worker/worker.ts";
import { JetStream } from "./jetstream.ts";
import { Network } from "./network.ts";
import { SimProcess, World } from "./world.ts";

const test = suite("simulation of shared workers");
const SEEDS = 60;
const ACK_WAIT_MS = 1_500;
const LIMIT_MS = 120_000;
/** The time of some turns, at the end of an execution. */
const TURNS_MS = 50;
const silent = pino({ level: "silent" });

interface Waited {
  /** Of a lone job of the quick function, from its submission to its begin. */
  longestMs: number;
  /** An execution of the slow function. */
  slowMs: number;
  done: boolean;
}

/** Slow jobs without end in sight, and now and then a quick one, on workers that serve both. */
async function runShared(seed: number): Promise<Waited> {
  const world = new World(seed);
  const { random } = world;
  const network = new Network(world);
  new JetStream(network, { onStored: () => {}, onRemoved: () => {}, onDelivered: () => {} }, ACK_WAIT_MS);
  const restore = world.install();
  const slowMs = random.int(200, 800);
  const submittedAt = new Map<string, number>();
  const begunAt = new Map<string, number>();
  const open = (process: SimProcess) =>
    Bus.open({ name: process.name, connect: async () => network.connect(process) as unknown as NatsConnection });
  const launch = (name: string, start: (bus: Bus) => unknown) => {
    const process = new SimProcess(name);
    world.after(0, () => void open(process).then(start), process);
    return process;
  };
  const supervisors = random.int(1, 2);
  const workers = random.int(1, 2);
  const concurrency = random.int(1, 3);
  const slow = random.int(30, 60);
  const quick = 4;
  let ended = 0;
  try {
    for (let n = 0; n < supervisors; n++) {
      launch(`supervisor-${n}`, (bus) =>
        Supervisor.on(bus, { replicas: 1, storesCompleted: false, ackWaitMs: ACK_WAIT_MS }),
      );
    }
    for (let n = 0; n < workers; n++) {
      launch(`worker-${n}`, (bus) =>
        new Worker({ log: silent, concurrency, bus })
          .func("slow", () => new Promise((resolve) => setTimeout(resolve, slowMs)))
          .func("quick", ({ data }) => void begunAt.set(data, world.now))
          .func("unused", () => {})
          .start(),
      );
    }
    launch("client", (bus) => {
      const client = new Client(bus);
      const submit = (name: string, data: string) =>
        client.run({ name, data, functions: [{ name }] }, { timeoutMs: LIMIT_MS }).then(() => {
          ended += 1;
        });
      for (let n = 0; n < slow; n++) setTimeout(() => submit("slow", `s${n}`), 100 + n);
      for (let n = 0; n < quick; n++) {
        const data = `q${n}`;
        setTimeout(
          () => {
            submittedAt.set(data, world.now);
            void submit("quick", data);
          },
          1_000 + n * 2 * slowMs + random.between(0, slowMs),
        );
      }
    });
    await world.run(LIMIT_MS, () => ended === slow + quick);
  } finally {
    restore();
  }
  const waits = [...submittedAt].map(([data, at]) => (begunAt.get(data) ?? Number.POSITIVE_INFINITY) - at);
  return { longestMs: Math.max(...waits), slowMs, done: ended === slow + quick };
}

/** The seeds in which a lone quick job waited for more than two slow executions. */
async function starved(): Promise<number[]> {
  const seeds: number[] = [];
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { longestMs, slowMs, done } = await runShared(seed);
    assert.ok(done, `seed ${seed}: all jobs end`);
    if (longestMs > 2 * slowMs + TURNS_MS) seeds.push(seed);
  }
  return seeds;
}

test("[SIM-9] a lone quick job waits for no more than two executions of the slow function", async () => {
  assert.equal(await starved(), []);
});

test("[SIM-9] it is found if a worker with a slot lets everybody in at once", async () => {
  const { slotFreed } = Turns.prototype;
  Turns.prototype.slotFreed = function (this: Turns<never>) {
    this.close();
    return this.admitted;
  };
  try {
    const seeds = await starved();
    assert.ok(seeds.length > SEEDS / 4, `${seeds.length} of ${SEEDS}`);
  } finally {
    Turns.prototype.slotFreed = slotFreed;
  }
});

test.run();
