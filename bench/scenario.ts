/** A load test: what it is called, what it takes, and what it needs to run. */
import type { Contender, Setup } from "./contender.ts";
import { asyncInOneProcess, asyncSystem } from "./contenders/async.ts";
import { floor } from "./contenders/floor.ts";
import type { NatsServer } from "./contenders/nats.ts";
import type { Numbers, Rival } from "./options.ts";
import type { Progress } from "./progress.ts";
import type { Scope } from "./scope.ts";
import type { Table } from "./table.ts";

export interface Context {
  numbers: Numbers;
  /** What async is measured against. */
  against: readonly Rival[];
  server: NatsServer;
  progress: Progress;
  /** Whatever is opened is closed by it. */
  scope: Scope;
}

export interface Scenario {
  readonly name: string;
  /** One line. */
  readonly description: string;
  /** The numbers it takes, and what they are if the user says nothing. */
  readonly numbers: Partial<Numbers>;
  /** What it measures async against if the user says nothing; absent if it measures nothing else. */
  readonly against?: readonly Rival[];
  /** @throws WrongResults if what was measured is worth nothing */
  run(context: Context): Promise<Table[]>;
}

export function setupOf({ supervisors, workers, concurrency }: Numbers): Setup {
  return { supervisors, workers, concurrency };
}

/** async, and what it is measured against. */
export async function contendersOf({ server, against }: Context): Promise<Contender[]> {
  const peers = against.filter((name) => name !== "floor" && name !== "one-process");
  return [
    asyncSystem(server),
    ...(against.includes("one-process") ? [asyncInOneProcess()] : []),
    ...(against.includes("floor") ? [floor(server)] : []),
    ...(peers.length > 0 ? await loadPeers(peers) : []),
  ];
}

interface PeersModule {
  peers(names: readonly string[]): Contender[] | Promise<Contender[]>;
}

/** Only when they are asked for: they bring databases with them. */
async function loadPeers(names: readonly string[]): Promise<Contender[]> {
  const path = new URL("./peers/contenders.ts", import.meta.url).href;
  const { peers } = (await import(path)) as PeersModule;
  return peers(names);
}
