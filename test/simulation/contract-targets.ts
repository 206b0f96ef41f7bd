/** Where scenarios of the contract are told: on the model in virtual time, and on a real server. */
import type { NatsConnection } from "nats";
import { Bus } from "../../src/bus/connection.ts";
import { ensureTopology } from "../../src/bus/topology.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { ACK_WAIT_MS, type Scenario } from "./contract.ts";
import { JetStream, type Observer } from "./jetstream.ts";
import { Network } from "./network.ts";
import { Probe } from "./probe.ts";
import { SimProcess, World } from "./world.ts";

/** Longer than any scenario takes. */
const LIMIT_MS = 30_000;

const nobodyLooks: Observer = { onStored: () => {}, onRemoved: () => {}, onDelivered: () => {} };

export async function tellOnModel({ tell }: Scenario, seed = 1): Promise<string[]> {
  const world = new World(seed);
  const network = new Network(world);
  new JetStream(network, nobodyLooks, ACK_WAIT_MS);
  const client = new SimProcess("client");
  const connect = async () => network.connect(client) as unknown as NatsConnection;
  let told: { lines: string[] } | { error: unknown } | undefined;
  const begin = async () => {
    try {
      told = { lines: await tell(new Probe(await connect(), connect)) };
    } catch (error) {
      told = { error };
    }
  };
  const restore = world.install();
  try {
    world.after(0, () => void begin(), client);
    await world.run(LIMIT_MS, () => told !== undefined);
  } finally {
    restore();
  }
  if (!told) throw new Error("the scenario did not end");
  if ("error" in told) throw told.error;
  return told.lines;
}

/** A real server with our streams. To be closed. */
export class RealServer {
  readonly #server: Awaited<ReturnType<typeof startTestServer>>;
  readonly #bus: Bus;

  private constructor(server: Awaited<ReturnType<typeof startTestServer>>, bus: Bus) {
    this.#server = server;
    this.#bus = bus;
  }

  static async start(): Promise<RealServer> {
    const server = await startTestServer();
    const bus = await testBus(server.url);
    await ensureTopology(bus, { ackWaitMs: ACK_WAIT_MS });
    return new RealServer(server, bus);
  }

  async tell({ tell }: Scenario): Promise<string[]> {
    const opened: Bus[] = [];
    const connect = async () => {
      const bus = await Bus.open({ url: this.#server.url, name: "contract" });
      opened.push(bus);
      return bus.nc;
    };
    try {
      for (const stream of ["JOBS", "TIMERS"]) await this.#bus.mux.request(`$JS.API.STREAM.PURGE.${stream}`, "", 2_000);
      return await tell(new Probe(await connect(), connect));
    } finally {
      await Promise.all(opened.map((bus) => bus.close()));
    }
  }

  async close(): Promise<void> {
    await this.#bus.close();
    await this.#server.close();
  }
}
