/** Budgets in jobs, bytes and turns: what one user sends in large, in great number, or oddly must not stop the others. */
import { setTimeout as delay } from "node:timers/promises";
import { headers } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import type { Delivery } from "../../src/bus/tokens/delivery.ts";
import { Puller } from "../../src/bus/tokens/puller.ts";
import { JOBS, SUPERVISOR_CONSUMER } from "../../src/bus/topology.ts";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("budgets");

test("[SUPERVISOR-1] jobs and wakes that come at once are no more than there is room for together", async () => {
  const MAX = 40;
  const system = await System.start("without supervisor");
  const first = await system.startSupervisor({ maxLiveJobs: 2_000, parkAfterMs: 50 });
  try {
    const job = { name: "held", functions: [{ name: "held" }] };
    const scheduled_at = new Date(Date.now() + 2_000).toISOString();
    await system.client.submitMany(Array.from({ length: 2 * MAX }, () => ({ ...job, scheduled_at })));
    await eventually("they are parked", () => first.liveJobs === 0);
    await first.close();
    const supervisor = await system.startSupervisor({ maxLiveJobs: MAX });
    let most = 0;
    supervisor.lifecycle.on("claimed", () => setImmediate(() => (most = Math.max(most, supervisor.liveJobs))));
    await system.worker((w) => w.func("held", () => delay(20)), { concurrency: 50 });
    // Both pulls are open by now, and all of it becomes available within moments.
    await delay(Math.max(0, Date.parse(scheduled_at) - Date.now()));
    await system.client.submitMany(Array.from({ length: 2 * MAX }, () => job));
    await eventually("all have ended", async () => {
      const { jobs } = await system.client.list({ limit: 1_000 });
      return jobs.length === 4 * MAX && jobs.every(({ state }) => state === "completed");
    });
    assert.ok(most > MAX / 2, `only ${most} were in memory`);
    assert.ok(most <= MAX, `${most} were in memory`);
  } finally {
    await system.close();
  }
});

test("many who ask for jobs that do not exist hold up nobody, however much waits to be looked through", async () => {
  const system = await System.start("without supervisor");
  try {
    await system.startSupervisor();
    await system.supervisor.close();
    const data = "x".repeat(200_000);
    for (let i = 0; i < 200; i++) {
      const job = { job_id: `id-${i}`, name: "large", data, functions: [{ name: "nobody" }] };
      await system.bus.mux.publish("job.submit", JSON.stringify(job));
    }
    await system.startSupervisor({ maxLiveJobs: 10 });
    const asked = Array.from({ length: 200 }, (_, i) => system.client.get(`none-${i}`).catch(({ code }) => code));
    assert.ok(Array.isArray((await system.client.functions()).functions), "others are answered meanwhile");
    const answers = await Promise.all(asked);
    // On a busy machine most are told to ask again; nobody was answered where one held up the others.
    assert.ok(answers.includes("job_not_found"), "nobody was answered");
    for (const code of answers) assert.ok(["job_not_found", "bus_timeout", "bus_overloaded"].includes(code), code);
  } finally {
    await system.close();
  }
});

test("[PULLER-3] a pull is limited in bytes, and the largest message still gets through", async () => {
  const system = await System.start();
  await system.supervisor.close();
  const { bus } = system;
  const largest = (bus.nc.info?.max_payload ?? 0) - 100;
  try {
    for (let i = 0; i < 8; i++) await bus.mux.publish("job.submit", "x".repeat(i % 2 === 0 ? largest : 300));
    const taken: Delivery[] = [];
    const pulls: { batch: number; max_bytes: number }[] = [];
    bus.nc.subscribe(`$JS.API.CONSUMER.MSG.NEXT.${JOBS}.*`, {
      callback: (_, message) => void pulls.push(message.json()),
    });
    await bus.flush();
    let done = 0;
    const puller = new Puller(bus, {
      stream: JOBS,
      consumer: SUPERVISOR_CONSUMER,
      room: () => 100 - (taken.length - done),
      roomBytes: () => 1,
      onDelivery: (delivery) => void taken.push(delivery),
      onTrouble: (reason) => assert.unreachable(reason),
    });
    await eventually("all have come", () => {
      for (; done < taken.length; done++) taken[done]?.ack();
      puller.refill();
      return taken.length === 8;
    });
    await puller.stop();
    assert.ok(
      pulls.every(({ max_bytes }) => max_bytes > largest && max_bytes < 2 * largest),
      JSON.stringify(pulls),
    );
  } finally {
    await system.close();
  }
});

test("[PULLER-1, PULLER-3] a pull with a limit in bytes that has got all its messages is no trouble, and the next follows", async () => {
  const system = await System.start();
  await system.supervisor.close();
  const { bus } = system;
  try {
    const broken: string[] = [];
    let taken = 0;
    let puller: Puller | undefined;
    const mostAsked: number[] = [];
    puller = new Puller(bus, {
      stream: JOBS,
      consumer: SUPERVISOR_CONSUMER,
      room: () => 4,
      onDelivery: (delivery) => {
        taken += 1;
        mostAsked.push(puller?.outstanding ?? 0);
        delivery.ack();
      },
      onTrouble: (reason) => broken.push(reason),
      onBroken: () => broken.push("broken"),
    });
    for (let i = 0; i < 60; i++) await bus.mux.publish("job.submit", "x");
    await eventually("all have come", () => taken === 60);
    await bus.flush();
    assert.equal(broken, []);
    assert.ok(Math.max(...mostAsked) <= 4, `${Math.max(...mostAsked)} were asked for`);
    await puller.stop();
  } finally {
    await system.close();
  }
});

test("a batch that is read is limited in bytes, and says how much is left", async () => {
  const system = await System.start();
  await system.supervisor.close();
  try {
    for (let i = 0; i < 20; i++) await system.bus.mux.publish("job.submit", "x".repeat(900_000));
    const all = await readBatch(system.bus, JOBS, { from: 1, batch: 100 });
    assert.ok(all.messages.length >= 8 && all.messages.length <= 12, `${all.messages.length} were read`);
    assert.is(all.pending, 20 - all.messages.length);
    const one = await readBatch(system.bus, JOBS, { from: 5, batch: 100, maxBytes: 1 });
    assert.equal([one.messages.length, one.messages[0]?.sequence, one.pending], [1, 5, 15]);
  } finally {
    await system.close();
  }
});

test("large jobs wait on disk, whatever they hold, and an innocent one passes them", async () => {
  const system = await System.start("without supervisor");
  const { bus, client } = system;
  await (await system.startSupervisor({ topology: { storeCompleted: true } })).close();
  const COUNT = 24;
  let served = 0;
  const large = bus.nc.subscribe("fn.large", {
    queue: "fn",
    callback: (_, message) => {
      served += 1;
      setTimeout(() => message.respond("null"), 50);
    },
  });
  const small = bus.nc.subscribe("fn.small", { queue: "fn", callback: (_, message) => void message.respond("1") });
  // 660 kB that decode to 7 MB: all at once are several times what the process may have.
  const data = `[${Array.from({ length: 220_000 }, () => "{}").join()}]`;
  const job = `{"name":"large","functions":[{"name":"large"}],"data":${data}}`;
  for (let i = 0; i < COUNT; i++) await bus.mux.publish(`job.submit.large-${i}`, job);
  const server = await startCli(["server", "--nats", system.url, "--no-http", "--max-memory", "128"], {
    NODE_OPTIONS: "--max-old-space-size=160",
  });
  try {
    await server.line("supervisor is running");
    assert.is(
      (await client.run({ name: "small", functions: [{ name: "small" }] }, { timeoutMs: 30_000 })) !== undefined,
      true,
    );
    const servedBefore = served;
    for (let i = 0; i < COUNT; i++) {
      await eventually(
        `large-${i} has ended`,
        async () => {
          assert.is(server.child.exitCode ?? server.child.signalCode, null, server.output());
          const { messages } = await readBatch(bus, "EVENTS", {
            filter: `job.event.large-${i}.completed`,
            from: 1,
            batch: 1,
          });
          return messages.length === 1;
        },
        60_000,
      );
    }
    assert.is(served, COUNT, "each was executed once");
    assert.ok(servedBefore < COUNT, "the innocent job did not wait for all of them");
  } finally {
    await server.kill();
    large.unsubscribe();
    small.unsubscribe();
    await system.close();
  }
});

test("a large fan for which there is no room is stored a few times, not once for each of its entries", async () => {
  const system = await System.start({ maxMemoryBytes: 1, parkAfterMs: 200, briefAboveBytes: 2_048 });
  try {
    await system.worker((w) => w.func("slow", () => delay(300)), { concurrency: 1 });
    const data = Array.from({ length: 60_000 }, (_, n) => ({ n }));
    const fan = (name: string) => ({
      name,
      data,
      functions: [{ id: "a", sleep_ms: 400 }, ...Array.from({ length: 200 }, () => ({ name, needs: ["a"] }))],
    });
    await system.client.submit(fan("nobody"));
    const { job_id } = await system.client.submit(fan("slow"));
    const look = async () => (await system.supervisor.store.get(job_id))?.state;
    await eventually(
      "it waits for room",
      async () => (await look())?.live?.some(({ wait }) => wait === "worker") ?? false,
    );
    await delay(1_000);
    const version = (await look())?.version ?? 0;
    assert.ok(version < 50, `stored ${version} times`);
  } finally {
    await system.close();
  }
});

test("[FEEDER-3] hundreds of functions that nobody serves hold up an innocent job for no more than seconds", async () => {
  const MAX = 100;
  const system = await System.start({ maxLiveJobs: MAX });
  try {
    await system.worker((w) => w.func("served", () => "done"));
    const names = Array.from({ length: 6 * MAX }, (_, i) => `misspelt-${i}`);
    await system.client.submitMany(names.map((name) => ({ name, functions: [{ name }] })));
    // In the time that the first of them would wait in memory, all of them are out of it.
    const innocent = { name: "innocent", functions: [{ name: "served" }] };
    assert.is(await system.client.run(innocent, { timeoutMs: 15_000 }), "done");
    let trials = 0;
    const watched = system.bus.nc.subscribe("job.wake.*", {
      callback: () => {
        trials += 1;
      },
    });
    await delay(3_000);
    watched.unsubscribe();
    assert.ok(trials <= 60, `${trials} trials in three seconds`);
    await system.worker((w) => w.func("misspelt-7", () => "corrected"));
    await eventually("a worker that comes is noticed", () =>
      system.events.some((event) => event.type === "completed" && event.job_name === "misspelt-7"),
    );
  } finally {
    await system.close();
  }
});

test("progress is told ten times a second at most, the newest of it, and none that is very large", async () => {
  const system = await System.start();
  const chatty = system.bus.nc.subscribe("fn.chatty", {
    queue: "fn",
    callback: (_, message) => {
      const tell = (progress: unknown) => {
        const beat = headers();
        beat.set("Async-Status", "heartbeat");
        message.respond(JSON.stringify(progress), { headers: beat });
      };
      for (let i = 0; i < 500; i++) tell(i);
      tell("x".repeat(200_000));
      setTimeout(() => message.respond("1"), 350);
    },
  });
  try {
    await system.client.run({ name: "chatty", functions: [{ name: "chatty" }] });
    const told = system.events.flatMap((event) => (event.type === "progress" ? [event.progress] : []));
    assert.ok(told.length >= 2 && told.length <= 5, `told ${told.length} times`);
    assert.is(told.at(-1), 499);
  } finally {
    chatty.unsubscribe();
    await system.close();
  }
});

test.run();
