/** Functions that throw and return what nobody expects. */
import { RetryAfter } from "../../src/worker/errors.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { Worker } from "../../src/worker/worker.ts";

const refuses = (what: string) => () => {
  throw new Error(what);
};
const hostile = new Proxy(Object.create(null), {
  get: refuses("get"),
  has: refuses("has"),
  getPrototypeOf: refuses("getPrototypeOf"),
  ownKeys: refuses("ownKeys"),
  getOwnPropertyDescriptor: refuses("getOwnPropertyDescriptor"),
});
const THEN = "then";
const withField = (name: string, value: unknown) => Object.defineProperty(new Error("well"), name, { value });
const withGetter = (name: string) => Object.defineProperty(new Error("well"), name, { get: refuses(name) });
const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;
const causeOfItself = new Error("cause");
causeOfItself.cause = causeOfItself;

const deep = () => {
  let value: unknown = 1;
  for (let i = 0; i < 20_000; i++) value = [value];
  return value;
};

/** By their names. */
export const ODDITIES: Record<string, () => unknown> = {
  proxy: () => hostile,
  prototypeless: () => Object.create(null),
  "message is an object": () => withField("message", { an: "object" }),
  "message throws": () => withGetter("message"),
  "stack is a number": () => withField("stack", 7),
  "stack throws": () => withGetter("stack"),
  "name is long": () => withField("name", "n".repeat(3_000_000)),
  "cause is itself": () => causeOfItself,
  symbol: () => Symbol("s"),
  undefined: () => undefined,
  function: () => refuses,
  cyclic: () => cyclic,
  deep,
  map: () => new Map([[1, new Set([2])]]),
  date: () => new Date(Number.NaN),
  big: () => 2n ** 200n,
  huge: () => "x".repeat(3_000_000),
  "then throws": () => Object.defineProperty({}, THEN, { get: refuses("then") }),
  "toJSON throws": () => ({ toJSON: refuses("toJSON") }),
  "retry after nonsense": () => new RetryAfter("soon" as unknown as number),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
};

/** `<prefix>.throws`, `.rejects`, `.returns`, `.resolves` and `.progress`; `args` names the oddity. To be started by the caller. */
export function oddWorker(prefix: string, options: WorkerOptions): Worker {
  const make = (name: unknown) => (ODDITIES[String(name)] ?? (() => name))();
  return new Worker({ concurrency: 10, ...options })
    .func(`${prefix}.throws`, ({ args }) => {
      throw make(args);
    })
    .func(`${prefix}.rejects`, async ({ args }) => {
      throw make(args);
    })
    .func(`${prefix}.returns`, ({ args }) => make(args))
    .func(`${prefix}.resolves`, async ({ args }) => ({ inside: [make(args)] }))
    .func(`${prefix}.progress`, ({ args, heartbeat }) => {
      for (let i = 0; i < 50; i++) heartbeat(make(args) as never);
      return "done";
    });
}
