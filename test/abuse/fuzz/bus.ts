/** Messages on every subject that the system knows. */
import type { Msg, Subscription } from "nats";
import type { Random } from "../../simulation/random.ts";
import { RawConnection } from "../raw-connection.ts";
import type { Target } from "../target.ts";
import type { Ledger } from "./ledger.ts";
import { encoded, mutated, oddBytes, oddHead, oddJob, oddText, oddValue } from "./oddities.ts";

/** Functions that the fuzz serves itself, beside the one of the innocent. */
const OWN = ["fuzz", "fuzz.silent"];
const NAMES = ["honest", ...OWN];
const ACKS = "fuzz.ack";
const REPLIES = "fuzz.reply";

export class BusFuzz {
  readonly #target: Target;
  readonly #random: Random;
  readonly #answers: Random;
  readonly #ledger: Ledger;
  readonly #raw: RawConnection;
  readonly #subscriptions: Subscription[] = [];
  /** Submissions that wait for their acknowledgement. */
  readonly #sent = new Map<string, { subject: string; data: Buffer }>();
  readonly #asked = new Map<string, string>();
  #number = 0;
  #pullInbox = "";
  #replySubject = "";

  /** `answers` is for what others begin: so what is sent depends on nobody. */
  constructor(target: Target, random: Random, answers: Random, ledger: Ledger) {
    this.#target = target;
    this.#random = random;
    this.#answers = answers;
    this.#ledger = ledger;
    this.#raw = new RawConnection(target.url);
    const { nc } = target.bus;
    const on = (subject: string, callback: (message: Msg) => void, queue?: string) => {
      const call = (error: Error | null, message: Msg) => void (error ?? callback(message));
      this.#subscriptions.push(nc.subscribe(subject, { callback: call, ...(queue !== undefined && { queue }) }));
    };
    on(`${ACKS}.*`, (message) => this.#onAck(message));
    on(`${REPLIES}.*`, (message) => this.#onReply(message));
    on("$JS.API.CONSUMER.MSG.NEXT.>", ({ reply }) => {
      this.#pullInbox = reply ?? "";
    });
    for (const name of OWN) on(`fn.${name}`, (message) => this.#serve(message, name), "fn");
    for (const verb of ["PING", "INFO", "STATS"]) on(`$SRV.${verb}`, (message) => this.#answerService(message));
  }

  /** So many messages; resolves when they have gone. */
  async send(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.#sendOne();
      if (i % 20 === 0) await this.#raw.drained();
    }
    await this.#raw.drained();
    await this.#target.bus.flush();
  }

  close(): void {
    for (const one of this.#subscriptions) one.unsubscribe();
    this.#raw.close();
  }

  #sendOne(): void {
    const random = this.#random;
    if (random.chance(0.4)) this.#submit();
    else this.#ask();
  }

  #submit(): void {
    const random = this.#random;
    const subject = random.chance(0.6) ? "job.submit" : `job.submit.${this.#subjectEnd()}`;
    const job = random.chance(0.8) ? encoded(random, oddJob(random, NAMES)) : oddBytes(random);
    const data = random.chance(0.15) ? mutated(random, job) : job;
    const reply = `${ACKS}.${this.#number++}`;
    this.#sent.set(reply, { subject, data });
    this.#raw.publish(subject, data, random.chance(0.2) ? oddHead(random) : "", reply);
  }

  #ask(): void {
    const random = this.#random;
    const id = () => this.#ledger.anId(random, () => this.#subjectEnd());
    const name = () => random.pick(NAMES);
    const kv = () => {
      const jobId = id();
      this.#ledger.forged.add(jobId);
      return `$KV.jobs.${jobId}`;
    };
    const subject = random.pick<() => string>([
      () => `job.wake.${id()}`,
      () => `job.timer.${id()}`,
      () => `job.wait.${name()}.${id()}`,
      () => `job.get.${id()}`,
      () => `job.cancel.${id()}`,
      () => `job.retry.${id()}`,
      () => `job.explain.${id()}`,
      () => `job.signal.${id()}.${random.pick(["approval", "odd", ">"])}`,
      () => "job.list",
      () => "function.list",
      () => `job.list.${id()}`,
      () => "job.ctl.room",
      () => "job.ctl.stop",
      () => `job.ctl.changed.${id()}`,
      () => `definition.${random.pick(["put", "get", "list", "delete"])}`,
      () => `function.${random.pick(["get", "set", "unset", "register"])}`,
      () => "job.ctl.settings",
      () => "job.ctl.queued",
      () => "job.ctl.storage",
      () => "job.ctl.lines",
      () => `job.event.${id()}.${random.pick(["completed", "failed", "progress", "rejected", "odd"])}`,
      () => `job.notify.${random.pick(["fuzz", "x"])}`,
      () => `fn.${random.pick(["honest", "fuzz"])}`,
      () => `$SRV.${random.pick(["PING", "INFO", "STATS", "SCHEMA"])}${random.pick(["", ".async", ".async.x"])}`,
      kv,
      () => this.#pullInbox || "nobody",
      () => this.#replySubject || "nobody",
    ])();
    const reply = random.pick([
      () => this.#asking(subject),
      () => this.#asking(subject),
      () => "",
      () => "$JS.ACK.x",
      () => "$JS.ACK.JOBS.supervisor.1.999999.1.1.0",
      () => "a.b.c",
    ])();
    const body = random.chance(0.5) ? this.#bodyOf(subject) : oddBytes(random);
    const head = random.chance(0.4) ? oddHead(random) : "";
    // A state that goes by itself is no longer anybody's.
    this.#raw.publish(subject, body, subject.startsWith("$KV") ? head.replaceAll("Nats-TTL", "x") : head, reply);
  }

  /** As it could be, with something odd in it. */
  #bodyOf(subject: string): Buffer {
    const random = this.#random;
    const value = (() => {
      if (subject.startsWith("definition.") || /^function\.(get|set|unset|register)$/.test(subject)) {
        const name = random.pick(["fuzz", oddText(random)]);
        return { name, settings: oddValue(random), functions: oddValue(random), worker: oddText(random) };
      }
      if (subject.includes("room"))
        return {
          functions: [random.pick(NAMES), oddValue(random)],
          slots: oddValue(random),
          heartbeat_ms: oddValue(random),
        };
      if (subject.includes("stop"))
        return { reply: random.pick([this.#replySubject, oddText(random)]), index: oddValue(random) };
      if (subject.includes("queued") || subject.includes("settings"))
        return { function: random.pick([...NAMES, oddText(random)]) };
      if (subject.includes("storage")) return { full: random.pick([true, "true", 1, null]) };
      if (subject.includes("list"))
        return {
          limit: random.pick([1, 3, -1, 1e9]),
          state: random.pick(["failed", oddText(random)]),
          cursor: oddText(random),
        };
      if (subject.includes("retry"))
        return random.pick([{}, { data: oddValue(random) }, { args: oddValue(random) }, oddValue(random)]);
      if (subject.includes("get")) return { submission: oddValue(random) };
      if (subject.includes("wake") || subject.includes("timer") || subject.includes("wait")) {
        return Buffer.from(`${random.pick([0, 1, 2, 99, 1e300, -1, "x"])} ${random.pick([Date.now(), 0, "x", ""])}`);
      }
      if (subject.startsWith("$KV"))
        return random.pick([[1], [1, oddText(random)], [99, subject.slice("$KV.jobs.".length)], {}, Buffer.alloc(0)]);
      return {
        job_id: oddText(random),
        attempt: 1,
        args: oddValue(random),
        result: oddValue(random),
        type: "completed",
      };
    })();
    return Buffer.isBuffer(value) ? value : encoded(random, value);
  }

  #asking(subject: string): string {
    const reply = `${REPLIES}.${this.#number++}`;
    this.#asked.set(reply, subject);
    return reply;
  }

  /** The rest of a subject: without what would end the connection. */
  #subjectEnd(): string {
    const text = oddText(this.#random)
      .replaceAll(/[^!-)+-=?-\uffff]/g, "_")
      .replaceAll(/\.{2,}|^\.|\.$/g, "_");
    return text === "" || this.#random.chance(0.5) ? `fuzz-${this.#random.int(0, 400)}` : text;
  }

  #onAck({ subject, data }: Msg): void {
    const sent = this.#sent.get(subject);
    this.#sent.delete(subject);
    const text = Buffer.from(data).toString() || "{}";
    const { seq, duplicate } = JSON.parse(text) as { seq?: number; duplicate?: boolean };
    // One that has the message id of another was not stored.
    if (sent && seq && !duplicate) this.#ledger.acknowledged(sent.subject, sent.data, seq);
  }

  #onReply({ subject, data, headers }: Msg): void {
    const asked = this.#asked.get(subject) ?? "";
    const text = Buffer.from(data).toString();
    const code = headers?.get("Nats-Service-Error-Code") ?? "";
    if (/^job\.(get|cancel|retry|list)|^function/.test(asked)) {
      if (code.startsWith("5") && code !== "503")
        this.#ledger.problems.push(`${asked} was answered ${code}: ${text.slice(0, 300)}`);
      this.#ledger.checkText(`the answer to ${asked}`, text);
    }
  }

  /** A worker that replies whatever, and mostly a result in the end. */
  #serve({ reply = "" }: Msg, name: string): void {
    const random = this.#answers;
    this.#replySubject = reply;
    for (let i = random.int(0, 3); i > 0; i--) {
      this.#raw.publish(reply, oddBytes(random), random.chance(0.7) ? oddHead(random) : "");
    }
    if (name !== "fuzz.silent" && random.chance(0.8))
      this.#raw.publish(reply, random.pick(['"done"', "7", "done", ""]));
  }

  #answerService({ reply = "" }: Msg): void {
    const random = this.#answers;
    if (reply === "") return;
    const info = {
      name: oddValue(random),
      id: oddValue(random),
      version: oddText(random),
      endpoints: oddValue(random),
      metadata: oddValue(random),
      type: "io.nats.micro.v1.info_response",
    };
    const endpoints = [
      {
        name: "x",
        subject: random.pick(["fn.fuzz", oddText(random)]),
        queue_group: oddValue(random),
        metadata: oddValue(random),
      },
      null,
    ];
    const said = random.pick([info, { ...info, endpoints }, oddValue(random)]);
    this.#raw.publish(
      reply,
      random.chance(0.6) ? encoded(random, said) : oddBytes(random),
      random.chance(0.3) ? oddHead(random) : "",
    );
  }
}
