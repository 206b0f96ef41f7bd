/** What breaks in a history, when, and for how long. */
import { type JetStream, RELIABLE } from "./jetstream.ts";
import { FAULTS, NEEDED } from "./kinds.ts";
import { type Connection, type Network, NO_FAULTS } from "./network.ts";
import { NOBODY, type SimProcess, type World } from "./world.ts";

/** Those that faults strike. */
export interface Cast {
  world: World;
  network: Network;
  jetStream: JetStream;
  supervisors: readonly SimProcess[];
  workers: readonly SimProcess[];
  client: () => SimProcess | undefined;
  /** The limit of the bucket of states while nothing else fills it. */
  bucketBytes: number;
  /** Starts another process in the place of one that was killed. */
  replace: (victim: SimProcess) => void;
  note: (line: string) => void;
}

/** When the limit of the bucket is raised, once faults have stopped. */
const RAISED_AFTER_MS = 30_000;

export class Faults {
  /** When they stop, in virtual ms; 0 if there are none. */
  untilMs = 0;
  readonly #cast: Cast;
  /** What fills the bucket at the moment. */
  #fillings = 0;

  constructor(cast: Cast) {
    this.#cast = cast;
  }

  /** Faults strike from now until `untilMs`, and none after that. */
  plan(untilMs: number): void {
    const world = this.#cast.world;
    const { random } = world;
    this.untilMs = untilMs;
    const some = (most: number) => (random.chance(0.4) ? random.float() * most : 0);
    this.#cast.network.faults = { drop: some(0.05), repeat: some(0.1), reorder: some(0.1), delay: some(0.05) };
    this.#cast.jetStream.faults = {
      lostAck: some(0.15),
      refuse: some(0.1),
      redeliver: some(0.2),
      refuseSchedule: random.chance(0.2) ? 0.3 : 0,
    };
    const kinds = FAULTS.filter(() => random.chance(0.5));
    for (let at = random.between(50, 800); kinds.length > 0 && at < untilMs; at += random.between(100, 1_500)) {
      const kind = random.pick(kinds);
      world.after(at, () => this.#strike(kind), NOBODY);
    }
    world.after(untilMs, () => this.#endFaults(), NOBODY);
  }

  #strike(kind: (typeof FAULTS)[number]): void {
    const world = this.#cast.world;
    const { random } = world;
    this.#cast.network.strikes(kind, 1);
    const crew = random.chance(0.6) ? this.#cast.supervisors : this.#cast.workers;
    const victim = random.pick(crew);
    switch (kind) {
      case "kill":
        if (victim.state === "dead") return;
        this.#crash(victim);
        world.after(random.between(50, 1_000), () => this.#cast.replace(victim), NOBODY);
        break;
      case "pause":
        this.#pause(victim, random.between(50, 4_000), false);
        break;
      case "suspend":
        this.#pause(victim, random.between(50, 4_000), true);
        break;
      case "cut":
        this.#cast.note(`${victim.name} is cut off`);
        this.#cut((connection) => connection.process === victim, random.between(20, 4_000));
        break;
      case "server":
        this.#cast.note("the server is killed");
        this.#cast.jetStream.forgetPulls();
        this.#cut(() => true, random.between(20, 1_500));
        break;
      case "full":
        this.#fill(random.between(100, 6_000));
        break;
      case "permission":
        this.#deny(random.chance(0.8) ? victim : (this.#cast.client() ?? victim), random.between(50, 4_000));
        break;
      case "account":
        this.#setExhausted(true);
        world.after(random.between(100, 4_000), () => this.#setExhausted(false), NOBODY);
        break;
      case "leader":
        this.#cast.note("no leader");
        this.#cast.jetStream.away = true;
        this.#cast.jetStream.forgetPulls();
        world.after(random.between(20, 1_500), () => this.#elect(), NOBODY);
        break;
    }
  }

  /** Where live jobs are all that is in the bucket, there is room when somebody makes some: so supervisors say to who operates them. */
  raiseLater(): void {
    this.#cast.world.after(RAISED_AFTER_MS, () => this.#raise(), NOBODY);
  }

  #raise(): void {
    this.#cast.bucketBytes = Number.POSITIVE_INFINITY;
    if (this.#fillings === 0) this.#cast.jetStream.stream("KV_jobs").maxBytes = Number.POSITIVE_INFINITY;
  }

  /** As if something else took all of the room. */
  #fill(ms: number): void {
    const bucket = this.#cast.jetStream.stream("KV_jobs");
    this.#fillings += 1;
    this.#cast.note("the bucket is full");
    bucket.maxBytes = Math.max(1, bucket.bytes);
    const empty = () => {
      this.#fillings -= 1;
      if (this.#fillings > 0) return;
      this.#cast.note("the bucket has room");
      bucket.maxBytes = this.#cast.bucketBytes;
    };
    this.#cast.world.after(ms, empty, NOBODY);
  }

  /** Of all its connections, those that it makes meanwhile aside. */
  #deny({ name }: SimProcess, ms: number): void {
    const needed = this.#cast.world.random.pick(NEEDED[name.split("-")[0] ?? ""] ?? []);
    if (!needed) return;
    this.#cast.note(`${name} may not ${needed.join(" ")}`);
    const denied = [...this.#cast.network.connections].filter(({ process }) => process.name === name);
    const permits = denied.map((connection) => connection.deny(...needed));
    const permit = () => {
      this.#cast.note(`${name} may ${needed.join(" ")} again`);
      for (const one of permits) one();
    };
    this.#cast.world.after(ms, permit, NOBODY);
  }

  #setExhausted(exhausted: boolean): void {
    this.#cast.note(exhausted ? "the account has no storage left" : "the account has storage");
    this.#cast.jetStream.exhausted = exhausted;
  }

  #cut(which: (connection: Connection) => boolean, ms: number): void {
    const cut = [...this.#cast.network.connections].filter(which);
    for (const connection of cut) connection.drop();
    this.#cast.world.after(
      ms,
      () => {
        for (const connection of cut) connection.restore();
      },
      NOBODY,
    );
  }

  /** Its process, or the whole of its machine: then its monotonic clock stands still meanwhile. */
  #pause(victim: SimProcess, ms: number, isMachine: boolean): void {
    if (victim.state !== "running") return;
    this.#cast.note(`${victim.name} is ${isMachine ? "suspended" : "paused"}`);
    this.#cast.world.pause(victim);
    const goOn = () => {
      if (isMachine) victim.suspendedMs += ms;
      this.#continue(victim);
    };
    this.#cast.world.after(ms, goOn, NOBODY);
  }

  #continue(victim: SimProcess): void {
    this.#cast.note(`${victim.name} goes on`);
    this.#cast.world.resume(victim);
  }

  #elect(): void {
    this.#cast.note("a leader");
    this.#cast.jetStream.away = false;
  }

  #endFaults(): void {
    this.#cast.note("faults stop");
    this.raiseLater();
    this.#cast.network.faults = NO_FAULTS;
    this.#cast.jetStream.faults = RELIABLE;
  }

  #crash(process: SimProcess): void {
    this.#cast.note(`${process.name} is killed`);
    this.#cast.world.kill(process);
    for (const connection of this.#cast.network.connections) if (connection.process === process) connection.drop();
  }
}
