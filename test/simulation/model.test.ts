/** That the model of NATS is worth believing: it answers as a real server does, and fails as it is told to. */
import type { NatsConnection } from "nats";
import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { Client } from "../../src/client/client.ts";
import { Worker } from "../../src/worker/worker.ts";
import { ACK_WAIT_MS, SCENARIOS } from "./contract.ts";
import { RealServer, tellOnModel } from "./contract-targets.ts";
import { JetStream, type Observer, RELIABLE } from "./jetstream.ts";
import { type Connection, Network, NO_FAULTS } from "./network.ts";
import { NOBODY, SimProcess, World } from "./world.ts";

const test = suite("model of NATS");

let server: RealServer;
test.before(async () => {
  server = await RealServer.start();
});
test.after(async () => {
  await server.close();
});

for (const scenario of SCENARIOS) {
  const { name, expected, model = expected } = scenario;
  test(`a server: ${name}`, async () => {
    assert.equal(await server.tell(scenario), expected);
  });
  test(`the model${scenario.model ? " (which is known to differ)" : ""}: ${name}`, async () => {
    assert.equal(await tellOnModel(scenario), model);
  });
}

/** A model with two clients, and everything that reaches the second. */
class Lab {
  readonly world = new World(1);
  readonly network = new Network(this.world);
  readonly jetStream: JetStream;
  readonly observed: string[] = [];
  readonly heard: string[] = [];
  readonly sender: Connection;
  readonly receiver: Connection;
  readonly #restore: () => void;

  constructor() {
    const observer: Observer = {
      onStored: (stream, { subject }) => void this.observed.push(`${stream} + ${subject}`),
      onRemoved: (stream, { subject }) => void this.observed.push(`${stream} - ${subject}`),
      onDelivered: (stream, { subject }, to) => void this.observed.push(`${stream} > ${subject} to ${to}`),
    };
    this.jetStream = new JetStream(this.network, observer, ACK_WAIT_MS);
    this.sender = this.network.connect(new SimProcess("sender"));
    this.receiver = this.network.connect(new SimProcess("receiver"));
    this.#restore = this.world.install();
    this.at(0, () => this.listen("t.*"));
  }

  at(ms: number, run: () => void, owner: SimProcess | null = NOBODY): void {
    this.world.after(ms, run, owner);
  }

  /** The receiver hears what is published on a subject, and the code of what is a status. */
  listen(subject: string): void {
    this.receiver.subscribe(subject, {
      callback: (_, { data, headers }) => void this.heard.push(headers?.code ? `${headers.code}` : `${data}`),
    });
  }

  /** One message each ms, numbered. */
  sendEachMs(fromMs: number, count: number): void {
    for (let i = 0; i < count; i++) this.at(fromMs + i, () => this.sender.publish("t.x", `${i}`));
  }

  async run(untilMs: number): Promise<void> {
    try {
      await this.world.run(untilMs, () => false);
    } finally {
      this.#restore();
    }
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => `${i}`);

test("a link keeps the order, unless it is told not to (NETWORK-1)", async () => {
  const [ordered, mixed] = [new Lab(), new Lab()];
  ordered.sendEachMs(50, 200);
  await ordered.run(2_000);
  assert.equal(ordered.heard, numbers(200));
  mixed.network.faults = { ...NO_FAULTS, reorder: 0.3 };
  mixed.sendEachMs(50, 200);
  await mixed.run(2_000);
  assert.not.equal(mixed.heard, numbers(200));
  assert.equal(
    [...mixed.heard].sort((a, b) => Number(a) - Number(b)),
    numbers(200),
  );
});

test("messages get lost and come twice as often as they are told to, and it is counted", async () => {
  const lossy = new Lab();
  lossy.at(40, () => {
    lossy.network.faults = { ...NO_FAULTS, drop: 0.2 };
  });
  lossy.sendEachMs(50, 500);
  await lossy.run(2_000);
  assert.ok(
    lossy.heard.length > 250 && lossy.heard.length < 390,
    `${lossy.heard.length} of 500 came through two links`,
  );
  assert.is(lossy.heard.length + (lossy.network.struck.drop ?? 0), 500);
  const twice = new Lab();
  twice.network.faults = { ...NO_FAULTS, repeat: 0.2 };
  twice.sendEachMs(50, 500);
  await twice.run(2_000);
  assert.is(twice.heard.length, 500 + (twice.network.struck.repeat ?? 0));
  assert.is(new Set(twice.heard).size, 500);
});

test("without a connection nothing leaves or comes; what was subscribed is heard again after it (NETWORK-2)", async () => {
  const lab = new Lab();
  const statuses: string[] = [];
  const watch = async () => {
    for await (const { type } of lab.receiver.status()) statuses.push(type);
  };
  lab.at(0, () => void watch());
  lab.sendEachMs(50, 300);
  lab.at(99.5, () => lab.receiver.drop());
  lab.at(199.5, () => lab.receiver.restore());
  lab.at(249.5, () => lab.sender.drop());
  await lab.run(2_000);
  assert.equal(statuses, ["disconnect", "reconnect"]);
  const from = (first: number, last: number) => lab.heard.some((one) => Number(one) >= first && Number(one) <= last);
  assert.ok(from(0, 40) && from(155, 190), "before and after");
  assert.not.ok(from(51, 145), "not while the receiver is cut off");
  assert.not.ok(from(200, 300), "not when the sender is");
});

test("a flush that is under way when the connection breaks fails", async () => {
  const lab = new Lab();
  const ends: string[] = [];
  lab.at(50, () => {
    lab.sender.flush().then(
      () => ends.push("done"),
      (error) => ends.push(error.message),
    );
    lab.sender.drop();
  });
  await lab.run(100);
  assert.equal(ends, ["connection disconnected"]);
});

test("what is on its way to a process that is killed never arrives; one that is paused gets it when it goes on", async () => {
  const lab = new Lab();
  const { process } = lab.receiver;
  lab.sendEachMs(50, 300);
  lab.at(100, () => lab.world.pause(process));
  let whilePaused = 0;
  lab.at(199, () => {
    whilePaused = lab.heard.length;
  });
  lab.at(200, () => lab.world.resume(process));
  lab.at(300, () => lab.world.kill(process));
  await lab.run(2_000);
  assert.ok(whilePaused <= 50);
  assert.ok(lab.heard.length > 240 && lab.heard.length < 251);
  assert.equal(lab.heard, numbers(lab.heard.length));
});

test("an answer that is lost belongs to a message that is stored; a refusal to one that is not", async () => {
  const ask = (lab: Lab) => lab.at(10, () => lab.receiver.publish("job.submit.a", "job", { reply: "t.answer" }));
  const silent = new Lab();
  silent.jetStream.faults = { ...RELIABLE, lostAck: 1 };
  ask(silent);
  await silent.run(100);
  assert.equal([silent.heard, silent.observed], [[], ["JOBS + job.submit.a"]]);
  const refused = new Lab();
  refused.jetStream.faults = { ...RELIABLE, refuse: 1 };
  ask(refused);
  await refused.run(100);
  assert.equal([refused.heard, refused.observed], [["503"], []]);
});

test("without a leader JetStream answers and delivers nothing, and core messages go on", async () => {
  const lab = new Lab();
  lab.at(10, () => {
    lab.jetStream.away = true;
    lab.receiver.publish("job.submit.a", "job", { reply: "t.answer" });
    lab.receiver.publish("$JS.API.DIRECT.GET.KV_jobs.$KV.jobs.a", "", { reply: "t.answer" });
    lab.sender.publish("t.x", "core");
  });
  await lab.run(100);
  assert.equal([...lab.heard].sort(), ["503", "503", "core"]);
  assert.equal(lab.observed, []);
});

test("a schedule goes by the clock of the server, not by that of whoever sets it", async () => {
  const lab = new Lab();
  const { process } = lab.sender;
  process.skewMs = 60_000;
  const set = () => {
    const headers = headersOf({
      "Nats-Schedule": `@at ${new Date(Date.now() - 60_000 + 500).toISOString()}`,
      "Nats-Schedule-Target": "job.wake.a",
    });
    lab.sender.publish("job.timer.a", "1", { headers });
  };
  let early: string[] = [];
  lab.at(10, set, process);
  lab.at(505, () => {
    early = [...lab.observed];
  });
  await lab.run(1_000);
  assert.equal(early, ["TIMERS + job.timer.a"]);
  assert.equal(lab.observed, ["TIMERS + job.timer.a", "TIMERS + job.wake.a", "TIMERS - job.timer.a"]);
});

test("a message id is forgotten after two minutes", async () => {
  const lab = new Lab();
  const store = () => lab.sender.publish("job.wait.f.a", "1", { headers: headersOf({ "Nats-Msg-Id": "a:1:wait" }) });
  for (const at of [10, 100_000, 121_000]) lab.at(at, store);
  await lab.run(130_000);
  assert.equal(lab.observed, ["TIMERS + job.wait.f.a", "TIMERS + job.wait.f.a"]);
});

test("the whole system on the model, without faults: every job completes, each function is executed once", async () => {
  const lab = new Lab();
  const { world, network, jetStream } = lab;
  const connect = (process: SimProcess) => async () => network.connect(process) as unknown as NatsConnection;
  const executed: string[] = [];
  const failed: unknown[] = [];
  const start = (name: string, begin: (process: SimProcess) => Promise<unknown>) => {
    const process = new SimProcess(name);
    world.after(0, () => void begin(process).catch((error) => failed.push(error)), process);
  };
  for (const name of ["supervisor-1", "supervisor-2"]) {
    start(name, async (process) => {
      const bus = await Bus.open({ name, connect: connect(process) });
      Supervisor.on(bus, { replicas: 1, storesCompleted: false, ackWaitMs: ACK_WAIT_MS }, { heartbeatMs: 200 });
    });
  }
  for (const name of ["worker-1", "worker-2"]) {
    const log = pino({ level: "silent" });
    start(name, (process) =>
      new Worker({ name, log, heartbeatMs: 200, bus: { connect: connect(process) } })
        .func("quick", ({ idempotencyKey }) => void executed.push(idempotencyKey))
        .func("slow", async ({ idempotencyKey }) => {
          executed.push(idempotencyKey);
          await new Promise((resolve) => setTimeout(resolve, 700));
        })
        .start(),
    );
  }
  const ids = numbers(6).map((n) => `job-${n}`);
  const states: string[] = [];
  start("client", async (process) => {
    const client = new Client(await Bus.open({ name: "client", connect: connect(process) }));
    const functions = [{ name: "quick" }, { name: "slow" }, { name: "quick" }];
    await Promise.all(ids.map((jobId) => client.submit({ name: "simulated", functions }, { jobId })));
    const jobs = await Promise.all(ids.map((jobId) => client.wait(jobId)));
    states.push(...jobs.map(({ state }) => state));
  });
  await lab.run(20_000);
  assert.equal(failed, []);
  assert.equal(states, Array(6).fill("completed"));
  assert.equal(executed.sort(), ids.flatMap((id) => [`${id}/0`, `${id}/1`, `${id}/2`]).sort());
  assert.is(jetStream.stream("JOBS").messages.size + jetStream.stream("TIMERS").messages.size, 0);
});

test.run();
