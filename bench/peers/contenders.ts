/**
 * The peers that we measure ourselves against. Their packages are none of ours: this module needs none of them, so that
 * the bench can be type-checked and run without; it loads what was asked for.
 */
import type { Contender } from "../contender.ts";

/** Module and export of each. No literal is imported, which would have the type checker look for the packages. */
const PEERS = {
  bullmq: ["./bullmq/contender.ts", "bullmq"],
  "bullmq-bulk": ["./bullmq/contender.ts", "bullmqBulk"],
  graphile: ["./graphile/contender.ts", "graphile"],
  "graphile-local": ["./graphile/contender.ts", "graphileLocal"],
} as const;

export type PeerName = keyof typeof PEERS;

export const PEER_NAMES = Object.keys(PEERS) as PeerName[];

export function isPeerName(name: string): name is PeerName {
  return Object.hasOwn(PEERS, name);
}

/**
 * Each starts the server that it needs, and its own processes.
 *
 * @throws Error that says what to install
 * @example
 * const contenders = await peers(["bullmq", "graphile-local"]);
 */
export async function peers(names: readonly PeerName[]): Promise<Contender[]> {
  return Promise.all(names.map(load));
}

async function load(name: PeerName): Promise<Contender> {
  const [file, exported] = PEERS[name];
  const module = (await import(new URL(file, import.meta.url).href).catch(explain)) as Record<string, () => Contender>;
  const make = module[exported];
  if (make === undefined) throw new TypeError(`${file} does not export ${exported}`);
  return make();
}

function explain(error: NodeJS.ErrnoException): never {
  if (error.code !== "ERR_MODULE_NOT_FOUND" && error.code !== "MODULE_NOT_FOUND") throw error;
  throw new Error("the packages of the peers are not installed: npm ci --prefix bench/peers", { cause: error });
}
