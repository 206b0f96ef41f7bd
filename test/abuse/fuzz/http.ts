/** Requests to every route of the bridge, and bytes that are no requests. */
import { Agent, request } from "node:http";
import { connect } from "node:net";
import type { Random } from "../../simulation/random.ts";
import type { Target } from "../target.ts";
import type { Ledger } from "./ledger.ts";
import { encoded, mutated, oddBytes, oddJob, oddText, oddValue } from "./oddities.ts";

const METHODS = ["GET", "POST", "POST", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"];
const TYPES = [
  "application/json",
  "application/json",
  "application/json; charset=utf-8",
  "application/json; charset=klingon",
  "application/msgpack",
  "application/x-msgpack",
  "text/plain",
  "multipart/form-data; boundary=x",
  "application/json/json",
  "",
  ";",
];
/** A request that has no answer by then has none. */
const ANSWER_MS = 20_000;
const NAMES = ["honest", "fuzz"];

export class HttpFuzz {
  readonly #target: Target;
  readonly #random: Random;
  readonly #ledger: Ledger;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });

  constructor(target: Target, random: Random, ledger: Ledger) {
    this.#target = target;
    this.#random = random;
    this.#ledger = ledger;
  }

  /** So many requests, some at a time; resolves when all are answered. */
  async send(count: number): Promise<void> {
    for (let left = count; left > 0; left -= 8) {
      const some = Array.from({ length: Math.min(8, left) }, () =>
        this.#random.chance(0.1) ? this.#sendBytes() : this.#sendRequest(),
      );
      await Promise.all(some);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #sendRequest(): Promise<void> {
    const random = this.#random;
    const method = random.pick(METHODS);
    const path = this.#path();
    const job = random.chance(0.7) ? encoded(random, oddJob(random, NAMES)) : oddBytes(random);
    const body =
      method === "GET" || method === "HEAD" || random.chance(0.1)
        ? undefined
        : random.chance(0.2)
          ? mutated(random, job)
          : job;
    const headers: Record<string, string> = {};
    if (body !== undefined) {
      headers["content-type"] = random.pick(TYPES);
      headers["content-length"] = String(body.length);
    }
    if (random.chance(0.1)) headers.accept = random.pick(["text/html", "*/*", ";;"]);
    if (random.chance(0.1)) headers["accept-encoding"] = "br, x";
    if (random.chance(0.1)) headers["transfer-encoding"] = "chunked";
    if (random.chance(0.1)) headers.expect = random.pick(["100-continue", "nonsense"]);
    if (headers["transfer-encoding"]) delete headers["content-length"];
    const what = `${method} ${path} (${headers["content-type"] ?? "no body"})`;
    const answer = await this.#ask(method, path, headers, body).catch((error: NodeJS.ErrnoException) => error);
    if (answer instanceof Error) {
      // A connection may be reset where the request makes no sense; the bridge must be there all the same, which others see.
      if (answer.message === NO_ANSWER) this.#ledger.problems.push(`${what} got no answer in ${ANSWER_MS} ms`);
      return;
    }
    const { status, text } = answer;
    this.#ledger.checkText(what, text);
    if (status >= 500 && status !== 503)
      this.#ledger.problems.push(`${what} was answered ${status}: ${text.slice(0, 300)}`);
    if (method === "POST" && path.split("?")[0] === "/v1/job" && status === 200)
      this.#ledger.accept(JSON.parse(text).job_id);
    if (
      status >= 400 &&
      method !== "HEAD" &&
      text !== "" &&
      !/^\{"error":\{"code":"/.test(text) &&
      !path.startsWith("/readyz")
    ) {
      this.#ledger.problems.push(`${what} was answered ${status} in another form: ${text.slice(0, 200)}`);
    }
  }

  #path(): string {
    const random = this.#random;
    const id = () => {
      const text = this.#ledger.anId(random, () => oddText(random));
      return random.chance(0.8) ? encodeURIComponent(wellFormed(text)) : text.replaceAll(/[^!-~]/g, "%zz");
    };
    const route = random.pick([
      () => "/v1/job",
      () => "/v1/job",
      () => "/v1/job",
      () => `/v1/job/${id()}`,
      () => `/v1/job/${id()}/retry`,
      () => `/v1/job/${"i".repeat(random.int(100, 5_000))}`,
      () => "/v1/function",
      () => "/v1/worker",
      () => "/healthz",
      () => "/readyz",
      () => `/${id()}`,
      () => "/v1/job/%",
      () => "/v1/job/..%2f..%2fetc%2fpasswd",
      () => "//v1//job",
      () => "/v1/job/%00",
      () => "/v1/job/\\..\\",
    ])();
    if (random.chance(0.6)) return route;
    const value = () =>
      encodeURIComponent(
        wellFormed(
          random.pick([
            oddText(random),
            "failed",
            "newest",
            "3",
            "0",
            "1e9",
            JSON.stringify(oddValue(random))?.slice(0, 200) ?? "",
          ]),
        ),
      );
    const pairs = Array.from(
      { length: random.int(1, 4) },
      () =>
        `${random.pick(["state", "limit", "cursor", "order", "x", "__proto__", "state[]", "toString", "%"])}=${value()}`,
    );
    return `${route}?${pairs.join("&")}`;
  }

  #ask(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: Buffer | undefined,
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const { port, hostname } = new URL(this.#target.http);
      const asked = request(
        { method, path, headers, host: hostname, port, agent: this.#agent, timeout: ANSWER_MS },
        (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("error", reject);
          response.on("end", () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }),
          );
        },
      );
      asked.on("timeout", () => asked.destroy(new Error(NO_ANSWER)));
      asked.on("error", reject);
      asked.end(body);
    });
  }

  /** What is no HTTP, or hardly. */
  #sendBytes(): Promise<void> {
    const random = this.#random;
    const head = random.pick([
      "GET / HTTP/9.9\r\n\r\n",
      "GET /healthz HTTP/1.1\r\n\r\n",
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\n${"x: y\r\n".repeat(3_000)}\r\n`,
      `GET /${"a".repeat(40_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      "POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n{}",
      "POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
      "POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{}",
      "POST /v1/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n{}",
      "GET /healthz HTTP/1.1\r\nHost: a b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
      "GET\0/ HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "\r\n\r\n\r\n",
    ]);
    const bytes = random.chance(0.3) ? mutated(random, Buffer.from(head)) : Buffer.from(head);
    return new Promise((resolve) => {
      const socket = connect(Number(new URL(this.#target.http).port), "127.0.0.1");
      let text = "";
      const done = () => {
        socket.destroy();
        this.#ledger.checkText(`the answer to ${JSON.stringify(head.slice(0, 60))}`, text);
        if (/^HTTP\/1\.1 5(?!03|05)/.test(text))
          this.#ledger.problems.push(`${JSON.stringify(head.slice(0, 60))}: ${text.slice(0, 300)}`);
        resolve();
      };
      socket.on("data", (part) => {
        text += part.toString("latin1");
      });
      socket.on("error", done); // a reset is an answer too
      socket.once("close", done);
      socket.setTimeout(300, done);
      socket.write(bytes);
    });
  }
}

const NO_ANSWER = "no answer";

/** Half of a pair of surrogates cannot be in a path at all. */
const wellFormed = (text: string) => Buffer.from(text).toString();
