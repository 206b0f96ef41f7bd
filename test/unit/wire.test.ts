/** Reading and writing in place of the client does the same as the client: each is held against one that is as it was. */
import * as fc from "fast-check";
import { headers, type Msg, ProtocolHandler, SubscriptionImpl } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { readFramesOf } from "../../src/bus/wire/reader.ts";
import { writeSlabsOf } from "../../src/bus/wire/writer.ts";

/** No delivery may fail in these tests. */
const onFault = (error: unknown) => {
  throw error;
};
const INFO = { max_payload: 1_048_576, headers: true };

/** As it is once it is connected; `sent` grows with what goes to the socket. */
function newProtocol(): { protocol: ProtocolHandler; sent: Buffer[] } {
  const protocol = new ProtocolHandler({ servers: ["127.0.0.1:1"] }, {} as never);
  const sent: Buffer[] = [];
  Object.assign(protocol, {
    infoReceived: true,
    connected: true,
    info: INFO,
    transport: { send: (bytes: Uint8Array) => sent.push(Buffer.from(bytes)) },
  });
  return { protocol, sent };
}

// --- writing

const subject = fc.constantFrom("a", "job.submit.auto-1", "$KV.jobs.x", "fn.näme", `long.${"x".repeat(300)}`);
const body = fc.oneof(
  fc.constant(undefined),
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.uint8Array({ maxLength: 300 }),
  fc.constantFrom(7_900, 8_192, 30_000, 70_000).map((size) => new Uint8Array(size).fill(size % 251)),
);
const action = fc.oneof(
  {
    arbitrary: fc.record({
      type: fc.constant("publish" as const),
      subject,
      body,
      reply: fc.option(subject),
      headed: fc.nat(2),
    }),
    weight: 8,
  },
  { arbitrary: fc.record({ type: fc.constant("subscribe" as const) }), weight: 1 },
  { arbitrary: fc.record({ type: fc.constant("flush" as const) }), weight: 1 },
  { arbitrary: fc.record({ type: fc.constant("turn" as const) }), weight: 2 },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

async function act(protocol: ProtocolHandler, actions: readonly Action[]): Promise<void> {
  for (const one of actions) {
    if (one.type === "turn") await new Promise((resolve) => setImmediate(resolve));
    else if (one.type === "flush") void protocol.flush();
    else if (one.type === "subscribe") protocol.subscribe(new SubscriptionImpl(protocol, "some.subject"));
    else {
      const own = headers();
      own.set("Key", "välue");
      const set = [undefined, own, headersOf({ Other: "1" })][one.headed];
      protocol.publish(one.subject, one.body, {
        ...(one.reply !== null && { reply: one.reply }),
        ...(set && { headers: set }),
      });
    }
  }
  await new Promise((resolve) => setImmediate(resolve));
}

test("what is written in slabs is the same, byte for byte and in the same order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
      const plain = newProtocol();
      const slabs = newProtocol();
      writeSlabsOf(slabs.protocol);
      await Promise.all([act(plain.protocol, actions), act(slabs.protocol, actions)]);
      assert.ok(Buffer.concat(plain.sent).equals(Buffer.concat(slabs.sent)));
      assert.is(slabs.protocol.outMsgs, plain.protocol.outMsgs);
      assert.is(slabs.protocol.outBytes, plain.protocol.outBytes);
    }),
  );
});

test("what is sent of a slab is not written again", async () => {
  const { protocol } = newProtocol();
  const sent: { bytes: Uint8Array; copy: Buffer }[] = [];
  Object.assign(protocol, {
    transport: { send: (bytes: Uint8Array) => sent.push({ bytes, copy: Buffer.from(bytes) }) },
  });
  writeSlabsOf(protocol);
  for (let i = 0; i < 500; i++) {
    for (let k = 0; k < i % 7; k++) protocol.publish(`s.${i}`, "x".repeat(i * 3));
    await Promise.resolve();
  }
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(sent.length > 100);
  for (const { bytes, copy } of sent) assert.ok(copy.equals(bytes));
});

test("the messages of a turn are one write", async () => {
  const { protocol, sent } = newProtocol();
  writeSlabsOf(protocol);
  for (let i = 0; i < 50; i++) protocol.publish("some.subject", "body");
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(sent.length, 1);
});

test("what is larger than the server takes is refused, and what was written before it is sent", async () => {
  const { protocol, sent } = newProtocol();
  writeSlabsOf(protocol);
  protocol.publish("before", "1");
  assert.throws(() => protocol.publish("large", new Uint8Array(INFO.max_payload + 1)), /max_payload/);
  protocol.publish("after", "2");
  await new Promise((resolve) => setImmediate(resolve));
  assert.is(Buffer.concat(sent).toString(), "PUB before 1\r\n1\r\nPUB after 1\r\n2\r\n");
});

// --- reading

/** What a callback can see of a message. */
function seen(message: Msg) {
  return {
    subject: message.subject,
    sid: message.sid,
    reply: message.reply,
    data: Buffer.from(message.data).toString("latin1"),
    text: message.string(),
    headers: message.headers && [message.headers.code, message.headers.description, [...message.headers]],
  };
}

const SIDS = 4;

/** Subscriptions 1 to 3, of which the last ends after two messages; 4 is none. */
function listening(protocol: ProtocolHandler): ReturnType<typeof seen>[] {
  const all: ReturnType<typeof seen>[] = [];
  for (let i = 1; i < SIDS; i++) {
    const subscription = new SubscriptionImpl(protocol, "some.subject", {
      callback: (_, message) => void all.push(seen(message)),
      ...(i === SIDS - 1 && { max: 2 }),
    });
    protocol.subscribe(subscription);
  }
  return all;
}

const head = fc.constantFrom(
  "NATS/1.0\r\nA: 1\r\nB: zwei\r\n\r\n",
  "NATS/1.0 503\r\n\r\n",
  "NATS/1.0 100 Idle Heartbeat\r\nX: y\r\n\r\n",
);
const payload = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  fc.string({ unit: "binary" }).map((text) => Buffer.from(text)),
  fc.constantFrom("\r\nMSG a 1 3\r\nxyz\r\n", "+OK\r\n").map((text) => Buffer.from(text)),
  fc.constantFrom(3_000, 65_600, 200_000).map((size) => Buffer.alloc(size, "ab\n")),
);
const message = fc
  .record({
    subject,
    sid: fc.integer({ min: 1, max: SIDS }),
    reply: fc.option(subject),
    head: fc.option(head),
    payload,
  })
  .map(({ subject, sid, reply, head, payload }) => {
    const options = reply === null ? "" : `${reply} `;
    const size = payload.length + (head?.length ?? 0);
    const line =
      head === null
        ? `MSG ${subject} ${sid} ${options}${size}`
        : `HMSG ${subject} ${sid} ${options}${head.length} ${size}`;
    return Buffer.concat([Buffer.from(`${line}\r\n${head ?? ""}`), payload, Buffer.from("\r\n")]);
  });
const other = fc.constantFrom("PING\r\n", "PONG\r\n", "+OK\r\n").map((text) => Buffer.from(text));
const frames = fc.array(fc.oneof({ arbitrary: message, weight: 6 }, { arbitrary: other, weight: 1 }), {
  maxLength: 40,
});
/** Where the bytes are cut, as shares of them. */
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });

test("what is read in frames is the same, however the bytes are cut", () => {
  fc.assert(
    fc.property(frames, cuts, fc.boolean(), (all, shares, everyByte) => {
      const bytes = Buffer.concat(all);
      const ends =
        everyByte && bytes.length < 3_000
          ? bytes.map((_, i) => i).keys()
          : shares.map((share) => Math.round(share * bytes.length)).sort((a, b) => a - b);
      const plain = newProtocol();
      const framed = newProtocol();
      readFramesOf(framed.protocol, onFault);
      const received = [plain, framed].map(({ protocol }) => {
        const messages = listening(protocol);
        let begin = 0;
        // A part is a view into something larger, as it comes from a socket.
        for (const end of [...ends, bytes.length]) {
          const part = Buffer.concat([Buffer.from("before"), bytes.subarray(begin, end), Buffer.from("after")]);
          protocol.parser.parse(part.subarray("before".length, part.length - "after".length));
          begin = end;
        }
        return { messages, read: [protocol.inMsgs, protocol.inBytes], state: protocol.parser.state };
      });
      assert.equal(received[1]?.messages, received[0]?.messages);
      assert.equal(received[1]?.read, received[0]?.read);
    }),
    { numRuns: 300 },
  );
});

test("what makes no sense is refused as the client refuses it, and the connection is made anew (READER-4)", () => {
  for (const bytes of ["MSG a\r\nx\r\n", "MSG a 1 x\r\n", "HMSG a 1 2\r\n", "NONSENSE\r\n", "MSG a 1 -3\r\nxyz\r\n"]) {
    let disconnected = 0;
    const errors = [newProtocol(), newProtocol()].map(({ protocol }, index) => {
      let refused = "none";
      const keep = (error: unknown) => {
        refused = (error as Error).message;
      };
      Object.assign(protocol.transport, { disconnect: () => (disconnected += 1) });
      if (index === 1) readFramesOf(protocol, keep);
      const messages = listening(protocol);
      try {
        protocol.parser.parse(Buffer.from(bytes));
      } catch (error) {
        keep(error);
      }
      if (index === 1 && refused !== "none") protocol.parser.parse(Buffer.from("MSG a 1 1\r\nx\r\n"));
      assert.equal(messages, []);
      return refused;
    });
    assert.is(errors[1], errors[0], bytes);
    assert.is(disconnected, errors[1] === "none" ? 0 : 1);
  }
});

test("[READER-3] a callback that throws ends neither the reading nor the other deliveries", () => {
  for (const size of [3, 100_000]) {
    const { protocol } = newProtocol();
    const faults: unknown[] = [];
    readFramesOf(protocol, (error, where) => faults.push([(error as Error).message, where]));
    const got: string[] = [];
    const callback = (_: unknown, message: Msg) => {
      got.push(message.subject);
      if (message.subject === "bad") throw new Error("boom");
    };
    protocol.subscribe(new SubscriptionImpl(protocol, ">", { callback }));
    const body = "x".repeat(size);
    const message = (subject: string) => `MSG ${subject} 1 ${size}\r\n${body}\r\n`;
    protocol.parser.parse(Buffer.from(message("bad") + message("good")));
    assert.equal(got, ["bad", "good"]);
    assert.equal(faults, [["boom", "bad"]]);
  }
});

test("[READER-3] headers that cannot be read are none, and the body is there", () => {
  for (const size of [3, 100_000]) {
    const { protocol } = newProtocol();
    readFramesOf(protocol, onFault);
    const got: unknown[] = [];
    const callback = (_: unknown, message: Msg) => void got.push([message.headers, message.data.length]);
    protocol.subscribe(new SubscriptionImpl(protocol, ">", { callback }));
    const head = "NATS/1.0\r\nbad key: x\r\n\r\n";
    protocol.parser.parse(
      Buffer.from(`HMSG a 1 ${head.length} ${head.length + size}\r\n${head}${"x".repeat(size)}\r\n`),
    );
    assert.equal(got, [[undefined, size]]);
  }
});

test("[READER-3] a refused subscription ends, also if its callback expects nothing but messages", () => {
  const { protocol } = newProtocol();
  const thrown: unknown[] = [];
  readFramesOf(protocol, (error, where) => void thrown.push([error instanceof TypeError, where]));
  const told: unknown[] = [];
  const callbacks = [
    (error: Error | null) => void told.push(error?.message),
    (_: Error | null, message: Msg) => void told.push(message.data.length),
  ];
  for (const callback of callbacks) {
    protocol.subscribe(new SubscriptionImpl(protocol, "secret", { callback }));
    protocol.parser.parse(Buffer.from(`-ERR 'Permissions Violation for Subscription to "secret"'\r\n`));
    assert.is(protocol.subscriptions.size(), 0);
  }
  assert.equal(told, ['Permissions Violation for Subscription to "secret"']);
  assert.equal(thrown, [[true, "secret"]]);
});

test("[WRITER-4] what is larger than a small limit of the server is refused", () => {
  const { protocol } = newProtocol();
  Object.assign(protocol, { info: { max_payload: 1_024, headers: true } });
  writeSlabsOf(protocol);
  protocol.publish("a", "x".repeat(1_024));
  assert.throws(() => protocol.publish("a", "x".repeat(1_025)), /max_payload/);
  assert.throws(() => protocol.publish("a", "ä".repeat(600)), /max_payload/);
  assert.throws(
    () => protocol.publish("a", "x".repeat(1_020), { headers: headersOf({ Key: "value" }) }),
    /max_payload/,
  );
});

test("each connection to a server begins anew", () => {
  const { protocol } = newProtocol();
  readFramesOf(protocol, onFault);
  const messages = listening(protocol);
  protocol.parser.parse(Buffer.from("MSG half 1 100\r\nab"));
  protocol.resetOutbound();
  protocol.parser.parse(Buffer.from("MSG whole 1 2\r\nab\r\n"));
  assert.equal(
    messages.map((one) => one.subject),
    ["whole"],
  );
});

test.run();
