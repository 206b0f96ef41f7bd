/** A real nats-server for a test file, and connections to it. */
import { createServer } from "node:net";
import { Bus, type BusOptions } from "../../src/bus/connection.ts";
import { findServerBinary } from "../../src/bus/server/binary.ts";
import {
  type EmbeddedServer,
  type EmbeddedServerOptions,
  startEmbeddedServer,
} from "../../src/bus/server/embedded-server.ts";

/** The binary that all servers of this test process run. */
export const serverBinary = await findServerBinary({ onProgress: (line) => console.error(line) });

/** A server on a free port, its data in a temporary folder unless `options` say otherwise. To be closed by the test. */
export function startTestServer(options: EmbeddedServerOptions = {}): Promise<EmbeddedServer> {
  return startEmbeddedServer({ binary: serverBinary.path, ...options });
}

/** To be closed by the test. `client` holds further options, such as a user. */
export function testBus(url: string, name = "test", client: NonNullable<BusOptions["client"]> = {}): Promise<Bus> {
  return Bus.open({ url, name, client });
}

/** A port that was free a moment ago: for servers of a cluster, which must know each other's before they start. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
