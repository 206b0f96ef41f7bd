/**
 * The fleet: one nats-server or a cluster of three, supervisors and workers, each a process of its own.
 *
 * Closing it, also after a start that failed, ends every process.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Bus } from "../../src/bus/connection.ts";
import { EVENTS, ensureTopology, inspectTopology, JOBS, KV_JOBS, TIMERS } from "../../src/bus/topology.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { freePort } from "../support/nats.ts";
import { buildOlderVersion } from "../support/older-version.ts";
import { eventually } from "../support/waiting.ts";
import { Member } from "./member.ts";
import { Node } from "./node.ts";
import type { Target } from "./target.ts";

export interface FleetOptions {
  /** Where logs, records and stores go. */
  folder: string;
  nodes: 1 | 3;
  supervisors: number;
  /** Supervisors of an older version besides. */
  older: number;
  workers: number;
  /** Attempts at a time per worker, and per supervisor that executes functions. */
  concurrency: number;
  onComplaint: (what: string) => void;
}

/** Of the supervisors: shorter than the longer pauses, so that their jobs are taken over meanwhile. */
export const LEASE_MS = 6_000;
const CLUSTER_START_LIMIT_MS = 30_000;
const WORKER = "test/chaos/worker.ts";
const STREAMS = [JOBS, KV_JOBS, TIMERS, EVENTS];
/** A node that is not up to date by then counts as back all the same. */
const CURRENT_LIMIT_MS = 15_000;
const CURRENT_POLL_MS = 250;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #nodes: Node[] = [];
  readonly #members: Member[] = [];
  #bus: Bus | undefined;

  private constructor(options: FleetOptions) {
    this.#options = options;
  }

  static async start(options: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(options);
    try {
      await fleet.#startNodes();
      await fleet.#startMembers();
      return fleet;
    } catch (error) {
      await fleet.close();
      throw error;
    }
  }

  /** Of the harness itself; it stays connected through all faults. */
  get bus(): Bus {
    if (!this.#bus) throw new Error("the fleet was not started");
    return this.#bus;
  }

  get targets(): Target[] {
    return [...this.#nodes, ...this.#members];
  }

  /** The node that leads the stream, if that can be said right now. */
  async leaderOf(stream: string): Promise<Target | undefined> {
    try {
      const reply = await this.bus.mux.request(`$JS.API.STREAM.INFO.${stream}`, "", 1_000);
      const leader = reply.json<{ cluster?: { leader?: string } }>().cluster?.leader;
      return this.#nodes[Number(leader?.slice(1)) - 1];
    } catch (error) {
      if (isAsyncError(error)) return undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.close()));
    await this.#bus?.close();
    await Promise.all(this.#nodes.map((node) => node.close()));
  }

  async #startNodes(): Promise<void> {
    const { folder, nodes } = this.#options;
    const configs = nodes === 1 ? [""] : await clusterConfigs(nodes);
    for (const [index, extraConfig] of configs.entries()) {
      this.#nodes.push(new Node({ number: index + 1, folder, extraConfig, untilCurrent: () => this.#untilCurrent() }));
    }
    await Promise.all(this.#nodes.map((node) => node.start()));
    const bus = await Bus.open({ url: this.#url, name: "chaos" });
    this.#bus = bus;
    const options = { replicas: nodes, ackWaitMs: LEASE_MS };
    const made = () =>
      ensureTopology(bus, options).catch((error) => (isAsyncError(error) ? undefined : throwIt(error)));
    await eventually("the streams are made", made, CLUSTER_START_LIMIT_MS);
  }

  async #startMembers(): Promise<void> {
    const { folder, supervisors, older, workers, concurrency, onComplaint } = this.#options;
    const nats = ["--nats", this.#url];
    const executing = [WORKER, "--concurrency", String(concurrency)];
    const readyText = "supervisor is running";
    for (let number = 1; number <= supervisors; number++) {
      // Every other one executes functions itself.
      const args = ["server", "--no-http", ...(number % 2 === 0 ? executing : []), ...nats];
      this.#members.push(new Member({ role: "supervisor", number, args, readyText, folder, onComplaint }));
    }
    const command = older > 0 ? await buildOlderVersion(join(folder, "older")) : "";
    for (let count = 1; count <= older; count++) {
      const args = ["server", "--no-http", ...nats];
      const number = `older-${count}`;
      this.#members.push(new Member({ role: "supervisor", number, command, args, readyText, folder, onComplaint }));
    }
    for (let number = 1; number <= workers; number++) {
      const args = ["worker", ...executing, ...nats];
      this.#members.push(new Member({ role: "worker", number, args, readyText: "serving", folder, onComplaint }));
    }
    await Promise.all(this.#members.map((member) => member.start()));
  }

  get #url(): string {
    return this.#nodes.map((node) => node.url).join(",");
  }

  /** Every copy of every stream is there and up to date. */
  async #untilCurrent(): Promise<void> {
    if (this.#nodes.length === 1) return;
    const end = performance.now() + CURRENT_LIMIT_MS;
    while (performance.now() < end) {
      await delay(CURRENT_POLL_MS);
      if (await this.#isCurrent()) return;
    }
  }

  async #isCurrent(): Promise<boolean> {
    try {
      const reports = await inspectTopology(this.bus);
      return reports.every(
        ({ name, info }) =>
          !STREAMS.includes(name) ||
          (info?.cluster?.leader && info.cluster.replicas?.every(({ current, offline }) => current && !offline)),
      );
    } catch {
      return false; // no leader, or no answer, right now
    }
  }
}

function throwIt(error: unknown): never {
  throw error;
}

async function clusterConfigs(nodes: number): Promise<string[]> {
  const ports = await Promise.all(Array.from({ length: nodes }, freePort));
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  return ports.map(
    (port, index) =>
      `server_name: n${index + 1}\ncluster { name: chaos, listen: "127.0.0.1:${port}", routes: [${routes}] }`,
  );
}
