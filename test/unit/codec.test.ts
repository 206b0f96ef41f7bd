import * as fc from "fast-check";
import { Packr, Unpackr } from "msgpackr";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, decodeReply, encode, encodeResult, encodingOf } from "../../src/bus/messages/codec.ts";
import { inexactNumber } from "../../src/bus/messages/exact-json.ts";
import { needsPlainUnpack, plainUnpack } from "../../src/bus/messages/plain-unpack.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { jsonValue, same } from "./support.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const isUndecodable = (error: unknown) => isAsyncError(error, "undecodable");
const map = fc.dictionary(
  fc.string().filter((key) => key !== "__proto__"),
  jsonValue,
  { noNullPrototype: true },
);

test("the encoding is told by the first byte", () => {
  assert.is(encodingOf(bytesOf("{}")), "json");
  assert.is(encodingOf(bytesOf(" {}")), "json");
  assert.is(encodingOf(new Uint8Array()), "json");
  assert.is(encodingOf(Uint8Array.of(0x7f)), "json");
  for (const first of [0x80, 0x8f, 0xde, 0xdf]) assert.is(encodingOf(Uint8Array.of(first)), "msgpack");
});

test("every map that we write is recognised for what it is and comes back unchanged", () => {
  fc.assert(
    fc.property(map, fc.constantFrom("json" as const, "msgpack" as const), (value, encoding) => {
      const bytes = encode(value, encoding);
      assert.is(encodingOf(bytes), encoding);
      assert.ok(same(decode(bytes), value));
    }),
    { numRuns: 500 },
  );
});

test("a map of a thousand keys is written as a plain map too", () => {
  const value = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`key-${n}`, n]));
  const bytes = encode(value, "msgpack");
  assert.is(bytes[0], 0xde);
  assert.equal(decode(bytes), value);
});

test("maps of the same shape are written out each time, without records", () => {
  const text = Buffer.from(encode([{ same: 1 }, { same: 2 }, { same: 3 }], "msgpack")).toString("latin1");
  assert.is(text.split("same").length - 1, 3);
});

test("MessagePack carries bytes, and integers of 64 bits without loss", () => {
  const value = { bytes: Buffer.from([0, 255]), big: 2n ** 63n, small: -(2n ** 63n), safe: Number.MAX_SAFE_INTEGER };
  const back = decode(encode(value, "msgpack")) as typeof value;
  assert.equal([...back.bytes], [0, 255]);
  assert.is(back.big, value.big);
  assert.is(back.small, value.small);
  assert.is(back.safe, value.safe);
});

test("a 64-bit integer that a number can hold is a number", () => {
  assert.is(decode(Uint8Array.of(0xcf, 0, 0, 0, 0, 0, 0, 0, 5)), 5);
  assert.is(decode(Uint8Array.of(0xd3, 255, 255, 255, 255, 255, 255, 255, 255)), -1);
});

test("undefined is null in both encodings", () => {
  for (const encoding of ["json", "msgpack"] as const) {
    assert.is(decode(encode(undefined, encoding), encoding), null);
    assert.equal(decode(encode([undefined], encoding), encoding), [null]);
  }
});

test("what is a view into a larger buffer is decoded without the rest", () => {
  for (const encoding of ["json", "msgpack"] as const) {
    const bytes = encode({ a: 1 }, encoding);
    const padded = Buffer.concat([Buffer.of(1, 2, 3), bytes, Buffer.of(4, 5)]);
    assert.equal(decode(padded.subarray(3, 3 + bytes.length)), { a: 1 });
  }
});

test("bytes that are neither encoding are undecodable, and the message says which was tried", () => {
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(), /not valid JSON/],
    [bytesOf("{"), /not valid JSON/],
    [bytesOf("hello"), /not valid JSON/],
    [Uint8Array.of(0x22, 0xff, 0x22), /not valid JSON/],
    [Uint8Array.of(0x81), /not valid MessagePack/],
    [Uint8Array.of(0x81, 0xa1), /not valid MessagePack/],
    [Uint8Array.of(0x80, 0x80), /not valid MessagePack/],
    [Uint8Array.of(0xdf, 255, 255, 255, 255), /not valid MessagePack/],
  ];
  for (const [bytes, message] of cases) {
    assert.throws(() => decode(bytes), message);
    assert.throws(() => decode(bytes), isUndecodable);
  }
});

test("the byte that MessagePack never uses is undecodable", () => {
  assert.throws(() => decode(Uint8Array.of(0xc1)), isUndecodable);
});

test("an undecodable message keeps its cause", () => {
  try {
    decode(bytesOf("{"));
    assert.unreachable();
  } catch (error) {
    assert.instance((error as Error).cause, SyntaxError);
  }
});

test("whatever the bytes, they decode or are undecodable", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 64 }),
      fc.constantFrom("json" as const, "msgpack" as const),
      (bytes, encoding) => {
        for (const read of [() => decode(bytes), () => decode(bytes, encoding), () => decodeReply(bytes, encoding)]) {
          try {
            read();
          } catch (error) {
            assert.ok(isUndecodable(error), String(error));
          }
        }
      },
    ),
    { numRuns: 3_000 },
  );
});

test("an empty reply is null", () => {
  assert.is(decodeReply(new Uint8Array(), "json"), null);
  assert.is(decodeReply(new Uint8Array(), "msgpack"), null);
});

test("a reply in a JSON job is its value, or the text that it is", () => {
  const reply = (text: string) => decodeReply(bytesOf(text), "json");
  assert.equal(reply('{"a":[1]}'), { a: [1] });
  assert.is(reply("42"), 42);
  assert.is(reply('"quoted"'), "quoted");
  assert.is(reply("null"), null);
  assert.is(reply("hello world"), "hello world");
  assert.is(reply("{almost json"), "{almost json");
  assert.is(reply("done\n"), "done\n");
  assert.is(reply("grüße"), "grüße");
});

test("a reply in a JSON job that is no text is undecodable", () => {
  assert.throws(() => decodeReply(Uint8Array.of(0xff, 0xfe), "json"), isUndecodable);
  assert.throws(() => decodeReply(encode({ a: 1 }, "msgpack"), "json"), isUndecodable);
});

test("a reply in a MessagePack job may be MessagePack, or text as in a JSON job", () => {
  const reply = (bytes: Uint8Array, isMessagePack = false) => decodeReply(bytes, "msgpack", isMessagePack);
  assert.equal(reply(encode({ a: 1 }, "msgpack")), { a: 1 });
  assert.equal(reply(bytesOf('{"a":1}')), { a: 1 });
  assert.equal(reply(bytesOf("[1,2]")), [1, 2]);
  assert.is(reply(bytesOf("hello")), "hello");
  assert.is(reply(bytesOf("{nonsense}")), "{nonsense}");
  assert.is(reply(bytesOf("grüße")), "grüße");
  assert.is(reply(bytesOf("über")), "über");
  assert.is(reply(bytesOf("7")), 7);
  assert.is(reply(bytesOf("A")), "A");
  assert.is(reply(Uint8Array.of(7)), 7);
  assert.is(reply(Uint8Array.of(0x7f)), 0x7f);
  assert.is(reply(Uint8Array.of(0x37), true), 55);
  assert.throws(() => reply(bytesOf("hello"), true), isUndecodable);
  assert.throws(() => reply(Uint8Array.of(0x81)), isUndecodable);
  assert.throws(() => reply(Uint8Array.of(0xd9, 5, 0xff)), isUndecodable);
});

test("what may hold extensions is read like the rest, and extensions are refused", () => {
  const packr = new Packr({ useRecords: false });
  fc.assert(
    fc.property(jsonValue, (value) => assert.ok(same(plainUnpack(packr.pack(value), 300), value))),
    { numRuns: 500 },
  );
  const numbers = [
    0,
    127,
    128,
    65_535,
    65_536,
    2 ** 32,
    -1,
    -32,
    -33,
    -129,
    -40_000,
    -(2 ** 31),
    1.5,
    2n ** 63n,
    -(2n ** 62n),
  ];
  const wide = { numbers, text: "x".repeat(70_000), list: Array(70_000).fill(null), bytes: Buffer.alloc(300), ǅ: "٣" };
  assert.ok(same(plainUnpack(packr.pack(wide), 300), unpackWith(packr.pack(wide))));
  assert.ok(needsPlainUnpack(packr.pack({ a: { "__proto__ ": 1 } })));
  for (const bytes of [
    [0xd4, 0x69, 1],
    [0xd5, 0x72, 0, 0],
    [0xd6, 0xff, 0, 0, 0, 0],
    [0xc7, 1, 0x42, 1],
    [0x81, 0xa1, 0x61, 0xd8],
    [0x92, 0xd4, 0x73],
  ]) {
    assert.throws(() => decode(Uint8Array.from(bytes), "msgpack"), isUndecodable);
  }
});

const unpackWith = (bytes: Uint8Array) =>
  new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "auto" as "number" }).unpack(bytes) as object;

test("the key __proto__ is a key like others, in both encodings, also where it was stored", () => {
  const text = '{"a":[{"__proto__":{"x":1}}],"__proto__":2}';
  const value = decode(bytesOf(text));
  for (const encoding of ["json", "msgpack"] as const) {
    assert.is(JSON.stringify(decode(encode(value, encoding), encoding)), text);
  }
  assert.is(({} as { x?: unknown }).x, undefined);
});

test("a number that would be rounded is found wherever it stands", () => {
  for (const number of ["9007199254740993", "1e999", "1E+400", "12.5e400"]) {
    for (let before = 0; before < 12; before++) {
      for (const pad of ["1", "a", "123"]) {
        assert.is(inexactNumber(`["${pad.repeat(before)}",${"12,".repeat(before)}${number},1]`), number);
      }
    }
  }
});

test("numbers of JSON that would be rounded are refused, all others and all text are taken", () => {
  for (const number of [
    "9007199254740993",
    "-9007199254740993",
    "1152921504606846976",
    "1e999",
    "-1E+400",
    "1".repeat(400),
  ]) {
    for (const text of [number, `[${number}]`, `{"a":"\\"","b":${number}}`]) {
      assert.throws(() => decode(bytesOf(text), "json"), isUndecodable);
      assert.throws(() => decodeReply(bytesOf(text), "json"), isUndecodable);
    }
  }
  for (const text of [
    '"9007199254740993"',
    '{"9007199254740993":"\\"1e999"}',
    "9007199254740991",
    "1e300",
    "0.12345678901234567890",
    "1234567890123456",
    "1e-999",
    "1152921504606847000",
  ]) {
    assert.equal(decode(bytesOf(text), "json"), JSON.parse(text));
  }
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (n) => decode(encode([n], "json")) !== undefined),
  );
});

test("half of a character in JSON is refused: it could not be stored as it is", () => {
  const halves = [
    String.raw`\ud800`,
    String.raw`\uDC00`,
    String.raw`\ud83d\ude00\ude00`,
    String.raw`\\\ud83d`,
    String.raw`\ud83d\ud83d\ude00`,
  ];
  for (const half of halves) {
    assert.throws(() => decode(Buffer.from(`{"a":"${half}"}`)), /half of a character/, half);
    assert.throws(() => decodeReply(Buffer.from(`"${half}"`), "json"), /half of a character/, half);
  }
  const whole = [String.raw`\ud83d\ude00`, String.raw`\uD83D\uDE00x`, String.raw`\\ud800`, "\u{1f600}"];
  for (const text of whole) assert.is(decode(Buffer.from(`"${text}"`), "json"), JSON.parse(`"${text}"`));
});

test("every result comes back from a worker that answers in the job's encoding", () => {
  fc.assert(
    fc.property(jsonValue, fc.constantFrom("json" as const, "msgpack" as const), (value, encoding) => {
      assert.ok(same(decodeReply(Buffer.from(encodeResult(value, encoding) as Uint8Array), encoding), value));
    }),
    { numRuns: 500 },
  );
});

test("MessagePack of other writers, with its own choice of widths, is read", () => {
  fc.assert(
    fc.property(map, (value) => {
      const other = new Packr({ useRecords: false, variableMapSize: true });
      assert.ok(same(decode(other.pack(value)), value));
    }),
    { numRuns: 100 },
  );
});

test("a decoded map with keys of prototypes pollutes nothing", () => {
  const json = decode(bytesOf('{"__proto__":{"polluted":true}}'));
  assert.ok(Object.hasOwn(json as object, "__proto__"));
  const packed = Buffer.concat([Buffer.of(0x81, 0xa9), bytesOf("__proto__"), Buffer.of(0x81, 0xa1, 0x78, 0x01)]);
  const value = decode(packed) as Record<string, unknown>;
  assert.is(Object.getPrototypeOf(value), Object.prototype);
  assert.is(value.x, undefined);
  assert.is(({} as Record<string, unknown>).polluted, undefined);
});

test.run();
