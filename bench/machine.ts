/** What figures depend on: without it they say nothing. */
import { availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { durabilityOf } from "../src/http/readiness.ts";
import { VERSION } from "../src/version.ts";
import type { Observer } from "./contenders/nats.ts";

export interface Machine {
  cpu: string;
  cores: number;
  memoryGb: number;
  system: string;
  node: string;
  async: string;
  natsServer: string;
  durability: string;
}

export async function describeMachine(observer: Observer): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    system: `${platform()} ${release()}`,
    node: process.versions.node,
    async: VERSION,
    natsServer: observer.bus.nc.info?.version ?? "unknown",
    durability: durabilityOf(await observer.replicas()),
  };
}

export function machineLines(machine: Machine): string {
  const { cpu, cores, memoryGb, node, natsServer, durability } = machine;
  return [
    `machine     ${cpu}, ${cores} cores, ${memoryGb} GB; node ${node}, nats-server ${natsServer}`,
    `durability  ${durability}`,
  ].join("\n");
}
