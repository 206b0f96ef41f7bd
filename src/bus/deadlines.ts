/**
 * Many deadlines, one timer. Deadlines are coarse: one is met up to two ticks late, never early.
 *
 * D1  The timer runs only while there is something to wait for.
 * D2  Expiry runs after the sockets have been read, so that a process that was stopped or busy for a while sees the
 *     replies that arrived in the meantime before it gives up on them.
 */
const TICK_MS = 50;

export class Deadline {
  /** Monotonic ms. Moved by `Deadlines.extend`. */
  at: number;
  /** Undefined when it has expired or was cancelled: what it referred to is free, though its place is still taken. */
  expire: (() => void) | undefined;

  constructor(at: number, expire: () => void) {
    this.at = at;
    this.expire = expire;
  }
}

export class Deadlines {
  readonly #buckets = new Map<number, Deadline[]>();
  #timer: NodeJS.Timeout | undefined;
  /** The oldest bucket that may hold anything. */
  #next = 0;

  /** Calls `expire` once after `ms`, unless cancelled. */
  add(ms: number, expire: () => void): Deadline {
    const deadline = new Deadline(performance.now() + Math.max(0, ms), expire);
    this.#place(deadline);
    return deadline;
  }

  /** Moves a deadline to `ms` from now. Cheap: it is looked at again when its old time comes. Only ever later. */
  extend(deadline: Deadline, ms: number): void {
    deadline.at = Math.max(deadline.at, performance.now() + ms);
  }

  cancel(deadline: Deadline): void {
    deadline.expire = undefined;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#buckets.clear();
  }

  #place(deadline: Deadline): void {
    const bucket = Math.ceil(deadline.at / TICK_MS);
    const list = this.#buckets.get(bucket);
    if (list) list.push(deadline);
    else this.#buckets.set(bucket, [deadline]);
    if (this.#timer === undefined) {
      this.#next = Math.floor(performance.now() / TICK_MS);
      this.#timer = setInterval(() => this.#tick(), TICK_MS);
      this.#timer.unref();
    }
  }

  #tick(): void {
    const last = Math.floor(performance.now() / TICK_MS);
    setImmediate(() => this.#expireThrough(last));
  }

  #expireThrough(last: number): void {
    for (; this.#next <= last; this.#next++) {
      const due = this.#buckets.get(this.#next);
      if (!due) continue;
      this.#buckets.delete(this.#next);
      for (const deadline of due) this.#visit(deadline, last);
    }
    if (this.#buckets.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #visit(deadline: Deadline, last: number): void {
    const { expire } = deadline;
    if (!expire) return;
    if (deadline.at > last * TICK_MS) {
      this.#place(deadline);
      return;
    }
    deadline.expire = undefined;
    expire();
  }
}
