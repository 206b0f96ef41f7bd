/** A user of a real server whose permissions change while he is connected, as an operator changes them: by a reload. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";

export type Operation = "publish" | "subscription";

const ALL = '{ user: limited, password: x, permissions: { publish: ">", subscribe: ">" } }';
/** Whoever says no name may do everything. */
export const WITH_LIMITED_USER = `
no_auth_user: all
authorization { users: [
  { user: all, password: x }
  ${ALL}
] }`;
export const LIMITED_USER = { user: "limited", pass: "x" };
/** Nothing tells when a server has read its configuration again. */
const RELOAD_MS = 500;

/** Of a server with `WITH_LIMITED_USER`. */
export class LimitedUser {
  readonly #server: EmbeddedServer;
  readonly #original: string;
  readonly #denied: Record<Operation, string[]> = { publish: [], subscription: [] };

  constructor(server: EmbeddedServer) {
    this.#server = server;
    this.#original = readFileSync(this.#file, "utf8");
  }

  async deny(operation: Operation, subject: string): Promise<void> {
    this.#denied[operation].push(subject);
    await this.#reload();
  }

  /** Permits everything again. */
  async permit(): Promise<void> {
    this.#denied.publish = [];
    this.#denied.subscription = [];
    await this.#reload();
  }

  get #file(): string {
    return join(this.#server.storeDir, "nats-server.conf");
  }

  async #reload(): Promise<void> {
    const list = (operation: Operation) => `{ allow: [">"], deny: ${JSON.stringify(this.#denied[operation])} }`;
    const permissions = `{ publish: ${list("publish")}, subscribe: ${list("subscription")} }`;
    const user = `{ user: limited, password: x, permissions: ${permissions} }`;
    writeFileSync(this.#file, this.#original.replace(ALL, user));
    process.kill(this.#server.pid, "SIGHUP");
    await delay(RELOAD_MS);
  }
}
