/**
 * What the bridge allows of those who connect: whom they may say that they talk to, how long they may take, and how many
 * they may be. There is no login, so it must not be of use to a page in the browser of who runs it, nor be shut for all by one
 * who opens connections and says nothing.
 *
 * LIMITS-1  Bound to a loopback address, it answers only where the request names one as its host: a name on the network that was
 *     made to lead here (DNS rebinding) is refused.
 * LIMITS-2  A request has to arrive in full within `REQUEST_MS`, and a connection that asks nothing is closed after `IDLE_MS`.
 * LIMITS-3  Beyond the most connections there may be, the one that has asked nothing for longest gives way; if all are being
 *     answered, the new one is closed.
 */
import { existsSync, readFileSync } from "node:fs";
import type { Server } from "node:http";
import { isIP, type Socket } from "node:net";
import type { FastifyInstance } from "fastify";
import { AsyncError } from "../job/errors.ts";

const HEADERS_MS = 5_000;
const REQUEST_MS = 30_000;
const IDLE_MS = 10_000;
/** How often it is looked which requests take too long. */
const CHECK_MS = 1_000;
const MAX_CONNECTIONS = 512;
/** Where Linux says how many files this process may open. */
const LIMITS_FILE = "/proc/self/limits";

/** For the server that Fastify makes. */
export const TIMEOUTS = {
  keepAliveTimeout: IDLE_MS,
  requestTimeout: REQUEST_MS,
  http: { headersTimeout: HEADERS_MS, connectionsCheckingInterval: CHECK_MS },
};

/** To be called before it listens on `host`. */
export function applyLimits(app: FastifyInstance, host: string, maxConnections = mostConnections()): void {
  limitConnections(app.server, maxConnections);
  if (!isLoopback(host)) return;
  app.addHook("onRequest", async (request) => {
    const named = request.headers.host;
    if (named === undefined || isLoopback(hostnameOf(named))) return;
    throw new AsyncError("forbidden_host", `this address serves localhost only, not ${named.slice(0, 100)}`);
  });
}

/** Files and the connection to NATS need descriptors too. */
function mostConnections(): number {
  const text = existsSync(LIMITS_FILE) ? readFileSync(LIMITS_FILE, "utf8") : "";
  const files = Number(/^Max open files +(\d+)/m.exec(text)?.[1] ?? 2 * MAX_CONNECTIONS);
  return Math.max(1, Math.min(MAX_CONNECTIONS, Math.floor(files / 2)));
}

/** LIMITS-3 */
function limitConnections(server: Server, most: number): void {
  /** In the order in which they asked nothing any more; the value says whether they are being answered. */
  const connections = new Map<Socket, "idle" | "asking">();
  const mark = (socket: Socket, state: "idle" | "asking") => {
    if (!connections.delete(socket)) return;
    connections.set(socket, state);
  };
  server.on("connection", (socket: Socket) => {
    connections.set(socket, "idle");
    socket.once("close", () => connections.delete(socket));
    // Node looks after those that have begun to ask, and after those that have asked before; not after those that say nothing.
    socket.setTimeout(IDLE_MS, () => connections.get(socket) === "idle" && socket.destroy());
    if (connections.size <= most) return;
    for (const [other, state] of connections) {
      if (state === "asking" && other !== socket) continue;
      connections.delete(other);
      other.destroy();
      return;
    }
  });
  server.on("request", (request, response) => {
    mark(request.socket, "asking");
    response.once("close", () => mark(request.socket, "idle"));
  });
}

/** Without the port. */
function hostnameOf(host: string): string {
  return host.replace(/:\d*$/, "").replaceAll(/^\[|\]$/g, "");
}

function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  if (name === "localhost" || name.endsWith(".localhost")) return true;
  if (isIP(name) === 4) return name.startsWith("127.");
  return name === "::1" || name.startsWith("::ffff:127.");
}
