/**
 * What the bridge allows of those who connect: whom they may say that they talk to, how long they may take, and how many
 * they may be. There is no login, so it must not be of use to a page in the browser of who runs it, nor be shut for all by one
 * who opens connections and says nothing.
 *
 * LIMITS-1  Bound to a loopback address, it answers only where the request names one as its host: a name on the network that was
 *     made to lead here (DNS rebinding) is refused.
 *     So is what a page of another origin asks for: a browser sends that without asking us, if it looks harmless, such as a retry
 *     without a body.
 * LIMITS-2  A request has to arrive in full within `REQUEST_MS`, and a connection that asks nothing is closed after `IDLE_MS`.
 * LIMITS-3  Beyond the most connections there may be, the one that has asked nothing for longest gives way; if all are being
 *     answered, the new one is closed.
 * LIMITS-4  The bridge lives in the process of a supervisor, so what requests and answers take of its memory has a limit: bodies that
 *     are coming and answers that have not been read have `MAX_HELD_BYTES` together. Beyond it whoever has not taken or sent his for
 *     `STALLED_MS` loses his connection, or else the new one is refused (503). So are requests beyond `MAX_OPEN`: one connection can
 *     ask thousands of things without waiting for an answer.
 */
import { existsSync, readFileSync } from "node:fs";
import type { Server, ServerResponse } from "node:http";
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

const MAX_OPEN = 1_024;
const MAX_HELD_BYTES = 64 * 1024 ** 2;
const STALLED_MS = 5_000;
/** What is smaller is not counted, and never refused: so many connections may have that. */
const SMALL_BYTES = 16 * 1024;

/** For the server that Fastify makes. */
export const TIMEOUTS = {
  keepAliveTimeout: IDLE_MS,
  requestTimeout: REQUEST_MS,
  http: { headersTimeout: HEADERS_MS, connectionsCheckingInterval: CHECK_MS },
};

/** To be called before it listens on `host`. `bodyLimit`: most bytes of a request. */
export function applyLimits(
  app: FastifyInstance,
  host: string,
  bodyLimit: number,
  maxConnections = mostConnections(),
): void {
  limitConnections(app.server, maxConnections);
  limitMemory(app, bodyLimit);
  if (!isLoopback(host)) return;
  app.addHook("onRequest", async (request) => {
    const { host: named, origin } = request.headers;
    if (named !== undefined && !isLoopback(hostnameOf(named))) {
      throw new AsyncError("forbidden_host", `this address serves localhost only, not ${named.slice(0, 100)}`);
    }
    if (origin !== undefined && !isLoopback(hostnameOf(origin.replace(/^https?:\/\//, "")))) {
      throw new AsyncError(
        "forbidden_host",
        `this address serves pages of localhost only, not ${origin.slice(0, 100)}`,
      );
    }
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

/** LIMITS-4 */
function limitMemory(app: FastifyInstance, bodyLimit: number): void {
  const held = new Held();
  const taken = new WeakMap<ServerResponse, Share>();
  app.addHook("onRequest", async ({ headers, raw }, reply) => {
    const declared = headers["transfer-encoding"] === undefined ? Number(headers["content-length"] ?? 0) : bodyLimit;
    const share = held.open(raw.socket, Math.min(declared, bodyLimit));
    if (!share) throw busy();
    taken.set(reply.raw, share);
    reply.raw.once("close", () => held.close(share));
  });
  app.addHook("onSend", async (_request, reply, payload) => {
    const share = taken.get(reply.raw);
    if (!share || typeof payload !== "string" || held.grow(share, payload.length)) return payload;
    const { code, message } = busy();
    void reply.code(503).header("Retry-After", "1").removeHeader("content-length");
    return JSON.stringify({ error: { code, message } });
  });
}

function busy(): AsyncError {
  return new AsyncError("bus_overloaded", "the bridge has too much to answer right now; try again");
}

/** What a request and its answer take. */
interface Share {
  socket: Socket;
  bytes: number;
}

/** What a connection has of it. */
interface Holding {
  requests: number;
  bytes: number;
  /** Since when it has held anything without a break, monotonic ms. */
  since: number;
}

/** By connection: where one is lost, not all of its responses tell that they are closed. */
class Held {
  /** The longest holder comes first. */
  readonly #holdings = new Map<Socket, Holding>();
  readonly #known = new WeakSet<Socket>();
  #requests = 0;
  #bytes = 0;

  /** Undefined if there is no room. */
  open(socket: Socket, bytes: number): Share | undefined {
    if (this.#requests >= MAX_OPEN) return undefined;
    const counted = bytes < SMALL_BYTES ? 0 : bytes;
    if (!this.#makeRoom(counted, socket)) return undefined;
    let holding = this.#holdings.get(socket);
    if (!holding) {
      holding = { requests: 0, bytes: 0, since: performance.now() };
      this.#holdings.set(socket, holding);
      if (!this.#known.has(socket)) socket.once("close", () => this.#forget(socket));
      this.#known.add(socket);
    }
    holding.requests += 1;
    holding.bytes += counted;
    this.#requests += 1;
    this.#bytes += counted;
    return { socket, bytes: counted };
  }

  /** False if there is no room for so many bytes more. */
  grow(share: Share, bytes: number): boolean {
    if (bytes < SMALL_BYTES) return true;
    if (!this.#makeRoom(bytes, share.socket)) return false;
    const holding = this.#holdings.get(share.socket);
    if (!holding) return true; // nobody reads it any more
    share.bytes += bytes;
    holding.bytes += bytes;
    this.#bytes += bytes;
    return true;
  }

  close({ socket, bytes }: Share): void {
    const holding = this.#holdings.get(socket);
    if (!holding) return;
    holding.requests -= 1;
    holding.bytes -= bytes;
    this.#requests -= 1;
    this.#bytes -= bytes;
    if (holding.requests === 0) this.#holdings.delete(socket);
  }

  #makeRoom(bytes: number, asking: Socket): boolean {
    if (bytes === 0) return true;
    for (const [socket, { since }] of this.#holdings) {
      if (this.#bytes + bytes <= MAX_HELD_BYTES || performance.now() - since < STALLED_MS) break;
      if (socket === asking) continue;
      this.#forget(socket);
      socket.destroy();
    }
    return this.#bytes + bytes <= MAX_HELD_BYTES;
  }

  #forget(socket: Socket): void {
    const holding = this.#holdings.get(socket);
    if (!holding) return;
    this.#holdings.delete(socket);
    this.#requests -= holding.requests;
    this.#bytes -= holding.bytes;
  }
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
