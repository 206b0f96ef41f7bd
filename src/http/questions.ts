/**
 * What is asked by HTTP of supervisors, a few questions at a time: an answer may be as large as a message, and it comes on the connection
 * to NATS of the supervisor whose process this is.
 *
 * QUESTIONS-1  A connection has one question at a time, however many requests it has sent without waiting for the answers: so it is
 *     before nobody else. Who has waited for `MAX_WAIT_MS` is refused, and who has left is not asked for.
 */
import type { Socket } from "node:net";
import { AsyncError } from "../job/errors.ts";
import { Limiter } from "../util/limiter.ts";

const MAX_QUESTIONS = 16;
const MAX_WAIT_MS = 3_000;

export class Questions {
  readonly #turns = new Limiter(() => MAX_QUESTIONS);
  readonly #ofConnection = new WeakMap<Socket, Limiter>();

  /** @throws AsyncError `bus_overloaded`, or what the question throws */
  ask<T>({ socket }: { socket: Socket }, question: () => Promise<T>): Promise<T> {
    const end = performance.now() + MAX_WAIT_MS;
    const inTime = <R>(next: () => Promise<R>): Promise<R> => {
      if (performance.now() < end && !socket.destroyed) return next();
      throw new AsyncError("bus_overloaded", "the bridge is asked for more than it can answer right now; try again");
    };
    let own = this.#ofConnection.get(socket);
    if (!own) {
      own = new Limiter(() => 1);
      this.#ofConnection.set(socket, own);
    }
    return own.run(() => inTime(() => this.#turns.run(() => inTime(question))));
  }
}
