/** Where scenarios of the contract are told: on the model in virtual time, and on a real server. */
import type { NatsConnection } from "nats";
import type { Bus, BusOptions } from "../../src/bus/connection.ts";
import { ensureTopology } from "../../src/bus/topology.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { LIMITED_USER, LimitedUser, WITH_LIMITED_USER } from "../support/permissions.ts";
import { ACK_WAIT_MS } from "./contract.ts";
import { JetStream, type Observer } from "./jetstream.ts";
import { type Connection, Network } from "./network.ts";
import { type Limited, Probe, type Scenario } from "./probe.ts";
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
      told = { lines: await tell(new Probe(await connect(), connect, limitedOnModel(network))) };
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

function limitedOnModel(network: Network): Limited {
  const connections: Connection[] = [];
  let permits: (() => void)[] = [];
  return {
    connect: async () => {
      const connection = network.connect(new SimProcess("limited"));
      connections.push(connection);
      return connection as unknown as NatsConnection;
    },
    deny: async (operation, subject) => {
      permits.push(...connections.map((connection) => connection.deny(operation, subject)));
    },
    permit: async () => {
      for (const permit of permits) permit();
      permits = [];
    },
  };
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
    const server = await startTestServer({ extraConfig: WITH_LIMITED_USER });
    const bus = await testBus(server.url);
    await ensureTopology(bus, { ackWaitMs: ACK_WAIT_MS });
    return new RealServer(server, bus);
  }

  async tell({ tell }: Scenario): Promise<string[]> {
    const opened: Bus[] = [];
    const open = async (client: NonNullable<BusOptions["client"]>) => {
      const bus = await testBus(this.#server.url, "contract", client);
      opened.push(bus);
      return bus.nc;
    };
    const connect = () => open({});
    const user = new LimitedUser(this.#server);
    const limited: Limited = {
      connect: () => open(LIMITED_USER),
      deny: (operation, subject) => user.deny(operation, subject),
      permit: () => user.permit(),
    };
    try {
      for (const stream of ["JOBS", "TIMERS"]) await this.#bus.mux.request(`$JS.API.STREAM.PURGE.${stream}`, "", 2_000);
      return await tell(new Probe(await connect(), connect, limited));
    } finally {
      await Promise.all(opened.map((bus) => bus.close()));
    }
  }

  async close(): Promise<void> {
    await this.#bus.close();
    await this.#server.close();
  }
}
