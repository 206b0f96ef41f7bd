/** The queue groups of a worker, one per function, on the bus and for requests of this process. */
import type { Msg } from "nats";
import { WORKER_QUEUE } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import type { Request } from "../bus/messages/invocation.ts";
import { leave } from "../bus/wire/leave.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";

interface Member {
  subscription: Listening;
  stopLocal: () => void;
}

export class QueueGroups<F> {
  readonly #bus: Bus;
  readonly #subjectOf: (member: F) => string;
  readonly #onRequest: (member: F, request: Request) => void;
  readonly #joined = new Map<F, Member>();

  constructor(bus: Bus, subjectOf: (member: F) => string, onRequest: (member: F, request: Request) => void) {
    this.#bus = bus;
    this.#subjectOf = subjectOf;
    this.#onRequest = onRequest;
  }

  /** It is in none. */
  get empty(): boolean {
    return this.#joined.size === 0;
  }

  join(members: Iterable<F>): void {
    for (const member of members) {
      if (this.#joined.has(member)) continue;
      const subject = this.#subjectOf(member);
      const callback = (message: Msg) => this.#onRequest(member, message);
      const subscription = this.#bus.subscribe(subject, callback, { queue: WORKER_QUEUE });
      const stopLocal = this.#bus.mux.local.serve(subject, (request) => this.#onRequest(member, request));
      this.#joined.set(member, { subscription, stopLocal });
    }
  }

  /** What the server has sent before it hears of this still arrives. */
  leave(members: Iterable<F>): Promise<void> {
    const left: Listening[] = [];
    for (const member of members) {
      const joined = this.#joined.get(member);
      if (!joined) continue;
      this.#joined.delete(member);
      joined.stopLocal();
      left.push(joined.subscription);
    }
    return leave(left);
  }

  leaveAll(): Promise<void> {
    return this.leave([...this.#joined.keys()]);
  }
}
