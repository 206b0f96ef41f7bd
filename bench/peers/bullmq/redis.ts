/** redis-server as BullMQ asks for it: an append-only file, synced once a second as our own server does by default. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { findOnPath } from "../../../src/bus/server/programs.ts";
import { type PeerServer, startPeerServer } from "../server.ts";

export interface Redis extends PeerServer {
  readonly port: number;
}

/** @throws Error that says what to install, or why it does not start */
export async function startRedis(): Promise<Redis> {
  const [program] = await findOnPath("redis-server", process.env);
  if (program === undefined) throw new Error("there is no redis-server: apt-get install redis-server");
  const port = await freePort();
  const server = await startPeerServer({
    name: "redis",
    command: (folder) => [
      program,
      ...["--bind", "127.0.0.1", "--port", String(port), "--dir", folder],
      ...["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""],
    ],
    ready: "Ready to accept connections",
  });
  return { ...server, port };
}

/** Redis cannot choose one itself. Should somebody else be faster, it says so and the start fails. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
