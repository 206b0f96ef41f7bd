/** A real nats-server for a test file, and connections to it. */
import { connect, type NatsConnection, type NodeConnectionOptions } from "nats";
import { type EmbeddedServer, type EmbeddedServerOptions, startEmbeddedServer } from "../../src/bus/embedded-server.ts";
import { findServerBinary } from "../../src/bus/server-binary.ts";

/** The binary that all servers of this test process run. */
export const serverBinary = await findServerBinary({ onProgress: (line) => console.error(line) });

/** A server on a free port, its data in a temporary folder unless `options` say otherwise. To be closed by the test. */
export function startTestServer(options: EmbeddedServerOptions = {}): Promise<EmbeddedServer> {
  return startEmbeddedServer({ binary: serverBinary.path, ...options });
}

/** A connection that comes back soon after the server was restarted. To be closed by the test. */
export function testConnection(url: string, options: NodeConnectionOptions = {}): Promise<NatsConnection> {
  return connect({
    servers: url,
    name: "test",
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    ...options,
  });
}
