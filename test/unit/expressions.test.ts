import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  ExpressionError,
  Expressions,
  evaluate,
  evaluateCondition,
  expressionProblem,
  type Root,
  type Scope,
  type Values,
} from "../../src/job/expressions.ts";
import { deepFreeze, jsonValue, same } from "./support.ts";

const run = promisify(execFile);

const over = (data: unknown, text: string) => evaluate(text, { data });

/** Why it cannot be evaluated. */
function reasonOf(text: string, values: Values): string {
  try {
    evaluate(text, values);
  } catch (error) {
    if (error instanceof ExpressionError) {
      assert.is(error.message, `expression ${JSON.stringify(text)}: ${error.reason}`);
      return error.reason;
    }
    throw error;
  }
  throw new Error(`${text} was evaluated`);
}

const SCOPE: Scope = {
  names: new Set<Root>(["data", "results", "errors", "skipped", "job"]),
  entries: (id) => (id === "charge" ? "ended" : id === "pick" ? "not ended" : "unknown"),
  ids: () => ["charge", "pick"],
};

const problem = (text: string) => expressionProblem(text, SCOPE) ?? "";

function accepts(...texts: string[]): void {
  for (const text of texts) assert.is(expressionProblem(text, SCOPE), undefined, text);
}

// Numbers

test("numbers of JSON and whole literals may be mixed", () => {
  for (const n of [5, 1.5, 0, -3, 2 ** 40]) {
    const data = { n, items: [10, 20, 30], i: 1, min: 2.5 };
    assert.is(over(data, "data.n + 1"), n + 1);
    assert.is(over(data, "data.n == 1"), n === 1);
    assert.is(over(data, "1 == data.n"), n === 1);
    assert.is(over(data, "data.n != 5"), n !== 5);
    assert.is(over(data, "data.n > 1"), n > 1);
    assert.is(over(data, "1 + data.n * 2"), 1 + n * 2);
    assert.is(over(data, "data.n % 2"), n % 2);
    assert.is(over(data, "-data.n"), -n);
    assert.is(over(data, "data.items[data.i]"), 20);
    assert.is(over(data, "data.items[data.i + 1]"), 30);
    assert.is(over(data, "data.items[size(data.items) - 1]"), 30);
    assert.is(over(data, "size(data.items) > data.min"), true);
    assert.is(over(data, "data.n in [5, 1.5]"), [5, 1.5].includes(n));
    assert.is(over(data, "20 in data.items"), true);
    assert.is(over(data, "data.items == [10, 20, 30]"), true);
  }
});

test("with a number of JSON it is JavaScript's arithmetic", () => {
  const number = fc.oneof(
    fc.integer({ min: -1_000_000, max: 1_000_000 }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  );
  const whole = fc.integer({ min: 0, max: 1_000_000 });
  const operators: Record<string, (a: number, b: number) => number | boolean> = {
    "+": (a, b) => a + b,
    "-": (a, b) => a - b,
    "*": (a, b) => a * b,
    "/": (a, b) => a / b,
    "%": (a, b) => a % b,
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    ">": (a, b) => a > b,
    ">=": (a, b) => a >= b,
    "==": (a, b) => a === b,
    "!=": (a, b) => a !== b,
  };
  const expressions = new Expressions();
  const agrees = (text: string, data: unknown, divisor: number, expected: number | boolean) => {
    const divides = text.includes("/") || text.includes("%");
    if ((divides && divisor === 0) || (typeof expected === "number" && !Number.isFinite(expected))) {
      assert.throws(
        () => expressions.evaluate(text, { data }),
        (error: Error) => error instanceof ExpressionError,
      );
    } else {
      assert.is(expressions.evaluate(text, { data }), expected, text);
    }
  };
  fc.assert(
    fc.property(number, number, whole, fc.constantFrom(...Object.keys(operators)), (a, b, literal, operator) => {
      const calculate = operators[operator] as (a: number, b: number) => number | boolean;
      agrees(`data.a ${operator} data.b`, { a, b }, b, calculate(a, b));
      agrees(`data.a ${operator} ${literal}`, { a }, literal, calculate(a, literal));
      agrees(`${literal} ${operator} data.b`, { b }, b, calculate(literal, b));
      agrees(`data.l.map(x, x ${operator} ${literal})[0]`, { l: [a] }, literal, calculate(a, literal));
    }),
    { numRuns: 300 },
  );
});

test("whole literals among themselves count as CEL says", () => {
  assert.is(over({}, "5 / 2"), 2);
  assert.is(over({}, "-7 % 3"), -1);
  assert.is(over({}, "5.0 / 2"), 2.5);
  assert.is(over({ five: 5 }, "data.five / 2"), 2.5);
  assert.is(over({ five: 5 }, "int(data.five) / 2"), 2);
});

test("big integers become numbers, nested ones too", () => {
  const values = { data: { n: 7n, list: [1n] } };
  const cases: [string, unknown][] = [
    ["1 + 2", 3],
    ["[1, [2]]", [1, [2]]],
    ["{'a': {'b': 3}}", { a: { b: 3 } }],
    ["size('abc')", 3],
    ["data.n", 7],
    ["data.list", [1]],
    ["data.n + 1", 8],
    ["5u", 5],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
  ];
  for (const [text, expected] of cases) assert.ok(same(evaluate(text, values), expected), text);
});

test("integers that JSON would round are refused", () => {
  for (const text of [
    "9007199254740992",
    "[1, -9007199254740992]",
    "{'a': 9007199254740991 + 1}",
    "data.big",
    "data",
  ]) {
    assert.match(reasonOf(text, { data: { big: 2n ** 60n } }), "beyond 2^53", text);
  }
  assert.is(over({ big: 2n ** 60n }, "string(data.big)"), String(2n ** 60n));
  assert.is(over({ big: 2n ** 60n }, "data.big > 5"), true);
});

// Results

test("what CEL has beside JSON becomes plain", () => {
  assert.is(over({}, "timestamp('2026-01-01T00:00:00Z') + duration('1h30m')"), "2026-01-01T01:30:00.000Z");
  assert.is(over({}, "duration('1m30s') + duration('500ms')"), 90.5);
  assert.equal(over({ m: { a: [1] } }, "{'m': data.m}"), { m: { a: [1] } });
});

test("what JSON has no word for is refused, with what to do", () => {
  const cases: [string, string][] = [
    ["1.0 / 0.0", "infinite or not a number"],
    ["type(1)", "gives a type"],
    ["data.?a", "end it with `.orValue(…)`"],
    ["'😀'.substring(0, 1)", "lone surrogate"],
  ];
  for (const [text, reason] of cases) assert.match(reasonOf(text, {}), reason, text);
});

test("bytes of a MessagePack job pass as they are, and others cannot be made", () => {
  const blob = new Uint8Array([1, 2]);
  const data = { blob, buffer: Buffer.from([1, 2]) };
  assert.equal(over(data, "data.blob"), blob);
  assert.equal(over(data, "[data.blob + data.blob]"), [new Uint8Array([1, 2, 1, 2])]);
  assert.is(over(data, "size(data.buffer)"), 2);
  assert.is(over(data, "data.blob == data.buffer"), true);
  assert.is(over(data, "data.blob.base64()"), "AQI=");
  assert.match(problem("b'x'"), "JSON has no bytes");
  assert.match(problem("bytes('x')"), "`bytes` is refused");
});

test("the result of an expression that is nothing but a path is that value", () => {
  fc.assert(
    fc.property(jsonValue, (value) => {
      assert.ok(same(over({ a: { b: value } }, "data.a.b"), value));
      assert.ok(same(over({ a: { b: value } }, "[data.a.b]"), [value]));
      assert.ok(same(over({ a: { b: value } }, "data.a[?'b'].orValue('none')"), value));
    }),
  );
});

test("the values are not changed, and the result shares nothing with them", () => {
  const data = deepFreeze({ list: [{ a: 1 }], m: { x: [1] } });
  const result = over(data, "data.list + [data.m]") as { a: number }[];
  assert.equal(result, [{ a: 1 }, { x: [1] }]);
  assert.is.not(result[0], data.list[0]);
  assert.is.not(over(data, "data.list"), data.list);
});

test("a condition that gives anything but true or false is refused, with its type", () => {
  assert.is(evaluateCondition("data.n > 1", { data: { n: 2 } }), true);
  assert.is(evaluateCondition("data.no", { data: { no: false } }), false);
  const cases: [unknown, string][] = [
    [1, "a number"],
    ["true", "a string"],
    [null, "null"],
    [[true], "a list"],
    [{}, "a map"],
  ];
  for (const [value, type] of cases) {
    assert.throws(
      () => evaluateCondition("data.x", { data: { x: value } }),
      (error: Error) =>
        error instanceof ExpressionError && error.reason === `must give true or false, and gives ${type}`,
    );
  }
});

test("a condition that certainly gives something else is refused at submit", () => {
  assert.match(expressionProblem("size(data.items)", SCOPE, "condition") ?? "", "gives an int");
  assert.match(expressionProblem("'yes'", SCOPE, "condition") ?? "", "gives a string");
  for (const text of ["true", "data.x", "data.x > 1", "skipped.charge || has(data.y)", "!data.x"]) {
    assert.is(expressionProblem(text, SCOPE, "condition"), undefined, text);
  }
  assert.match(expressionProblem("dat.x", SCOPE, "condition") ?? "", "did you mean");
});

// What is known

test("all that a job knows by then has a name", () => {
  const values: Values = {
    data: { a: 1 },
    results: { charge: { ok: true }, none: null },
    errors: { charge: { code: "boom" } },
    skipped: { charge: true },
    result: [1],
    error: { code: "x" },
    job: { id: "j", name: "n" },
  };
  const cases: [string, unknown][] = [
    ["results.charge.ok", true],
    ["results['charge'].ok", true],
    ["results.none == null", true],
    ["errors.charge.code", "boom"],
    ["has(errors.none)", false],
    ["skipped.charge", true],
    ["skipped.none", false],
    ["!skipped.none && skipped.charge", true],
    ["result[0]", 1],
    ["error.code + job.id", "xj"],
  ];
  for (const [text, expected] of cases) assert.equal(evaluate(text, values), expected, text);
  for (const text of ["data", "result", "error == null", "skipped.a", "has(results.a)"]) evaluate(text, {});
});

test("an optional field has a default: results.?a.?b.orValue(0)", () => {
  const text = "results.?a.?b.orValue(0)";
  accepts("results.?charge.?b.orValue(0)");
  assert.is(evaluate(text, { results: { a: { b: 3 } } }), 3);
  for (const results of [{ a: {} }, {}, { a: null }]) assert.is(evaluate(text, { results }), 0);
  assert.match(problem("data?.a"), "an optional field is written `.?`");
});

test("names of prototypes lead to fields of the data or to nothing", () => {
  const names = ["__proto__", "constructor", "toString", "valueOf", "hasOwnProperty", "prototype", "length"];
  for (const name of names) {
    for (const value of [{}, { a: 1 }, [1], "text", 1, true, null, new Uint8Array(1)]) {
      const data = { value };
      for (const text of [
        `data.value.${name}`,
        `data.value["${name}"]`,
        `[data.value][0].${name}`,
        `data.value[data.name]`,
      ]) {
        reasonOf(text, { data: { ...data, name } });
      }
      assert.is(over(data, `data.value.?${name}.orValue('none')`), "none");
      assert.is(over(data, `data.value[?"${name}"].orValue('none')`), "none");
    }
    assert.is(over({ value: {} }, `has(data.value.${name})`), false);
    assert.is(over({ value: { a: 1 } }, `"${name}" in data.value`), false);
    reasonOf(name, {});
    reasonOf(`data.value.${name}()`, { data: { value: {} } });
  }
  assert.match(problem("{'__proto__': 1}"), "cannot have the key '__proto__'");
  assert.match(problem("{'constructor': 1}"), "cannot have the key 'constructor'");
});

test("a field with the name of a prototype's is a field like any other, but `__proto__` is left out", () => {
  const data = JSON.parse(
    '{"constructor": {"name": "x"}, "toString": 1, "m": {"__proto__": {"evil": 1}, "ok": 2}, "e": {"__proto__": {}}}',
  );
  assert.is(over(data, "data.constructor.name + 'y'"), "xy");
  assert.is(over(data, "data.toString + 1"), 2);
  assert.is(over(data, "size(data.m)"), 1);
  assert.is(over(data, "data.e == {'x': 1}"), false);
  assert.is(over(data, "data.m.?evil.orValue(0)"), 0);
  assert.equal(Object.keys(over(data, "data.m") as object), ["ok"]);
  assert.equal(Object.keys(over(data, "[data.m][0]") as object), ["ok"]);
  reasonOf("data.m.__proto__", { data });
});

test("values of kinds that no message carries are refused, not met with a crash", () => {
  for (const value of [new Set([1]), () => 1, Symbol("x"), new (class A {})(), Promise.resolve(1), /x/]) {
    for (const text of ["data.v", "data.v == 1", "[data.v]", "data.v.x", "size(data.v)", "type(data.v) == string"]) {
      reasonOf(text, { data: { v: value } });
    }
  }
  assert.is(over({ v: undefined }, "has(data.v)"), false);
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  assert.match(reasonOf("data", { data: circular }), "nested more than");
  assert.match(reasonOf("[data]", { data: circular }), "nested more than");
});

// Errors

test("an error says the type of the operand", () => {
  const data = { text: "x", n: 1, list: [1], m: {} };
  const cases: [string, string][] = [
    ["data.text + data.n", "no such overload: string + double"],
    ["data.list - 1", "no such overload: list - int"],
    ["!data.n", "no such overload: !double"],
    ["data.n ? 1 : 2", "got 'double'"],
    ["data.text || false", "got 'string'"],
    ["data.n.map(x, x)", "type 'double'"],
    ["data.text.a", "there is no key `a` in a string"],
    ["data.text.substring(data.n)", "'string.substring(double)'; numbers of JSON are doubles: int(…)"],
    ["data.m.startsWith('a')", "'map.startsWith(string)'"],
  ];
  for (const [text, reason] of cases) assert.match(reasonOf(text, { data }), reason, text);
});

test("no error shows a value", () => {
  const SECRET = "s3cr3t-91827364";
  const data = {
    s: SECRET,
    n: 91827364.5,
    whole: 91827364,
    big: 9182736455555555555n,
    list: [SECRET],
    m: { [SECRET]: SECRET },
    o: { constructor: { name: SECRET } },
    zero: 0,
  };
  const texts = [
    ...["data.m[data.s + 'x']", "data.m[data.n]", "data[data.s]", "data.s.x", "data.m.x.y", "data.list.x"],
    ...["data.list[data.whole]", "data.list[data.n]", "data.list[-data.whole]", "data.list[data.s]", "data.list[99]"],
    ...["data.s + 1", "data.s - data.n", "data.n + data.s", "data.list + data.s", "data.m < data.n", "data.o + 1"],
    ...[
      "data.n / data.zero",
      "data.whole % data.zero",
      "int(data.whole) / 0",
      "data.big * 1000",
      "data.big + data.big",
    ],
    ...["-data.s", "!data.s", "data.s ? 1 : 2", "data.s || false", "data.n && true", "data.list.all(x, x)"],
    ...["int(data.s)", "int(data.n * 1e300)", "uint(-data.n)", "double(data.s)", "bool(data.s)", "timestamp(data.s)"],
    ...[
      "timestamp('2026-01-01T00:00:00Z' + data.s)",
      "duration(data.s)",
      "duration('1h' + data.s)",
      "timestamp(int(data.big))",
    ],
    ...["timestamp('2026-01-01T00:00:00Z').getHours(data.s)", "timestamp(1) + data.s", "data.s.substring(int(data.n))"],
    ...[
      "data.s.substring(data.n)",
      "data.s.indexOf('a', int(data.n))",
      "[data.s, 1].join(',')",
      "data.list.join(data.n)",
    ],
    ...[
      "data.list.map(x, x + 1)",
      "data.list.filter(x, x)",
      "data.list.exists(x, x.y)",
      "data.s.map(x, x)",
      "data.s.foo()",
    ],
    ...["data.big", "[data.big]", "data.s in data.s", "data.n in data.n", "size(data.n)", "data.o.startsWith(data.s)"],
    ...[
      "optional.none().value()",
      "data.?zzz",
      "data.s.orValue(1)",
      "data.list[?0]",
      "type(data.s)",
      "data.s.contains(data.n)",
    ],
    ...["data.n * 1e308 * 1e308", "data.list.map(x, data.m[x + x])", "data.blob.at(1)", "has(data.s.x.y)"],
  ];
  for (const text of texts) {
    const reason = reasonOf(text, { data });
    assert.not.match(reason, /s3cr3t|91827|9182736455/, text);
    assert.not.match(reason, /dyn<|_text|_flat|_deep|_each|_joined|_needle/, text);
    assert.ok(reason.length > 8, text);
  }
  for (const value of [SECRET, 91827364]) {
    assert.throws(
      () => evaluateCondition("data.v", { data: { v: value } }),
      (error: Error) => !/s3cr3t|91827/.test(error.message),
    );
  }
});

test("a library that throws its own errors in between shows no value of theirs either", () => {
  // The host's: an unknown time zone is repeated in its message.
  const reason = reasonOf("timestamp(1).getDayOfYear(data.zone)", { data: { zone: "Secret/Place" } });
  assert.is(reason, "it cannot be evaluated over these values");
});

// At submit

test("syntax is checked, with the place", () => {
  assert.match(problem("data.a +"), "Unexpected token: the end, at character 9");
  assert.match(problem("(data.a"), "at character 8");
  assert.match(problem("data.a ~ 1"), "Unexpected character: ~, at character 8");
  assert.match(problem("'abc"), "Unterminated string, at character 1");
  assert.is(problem(" "), "is empty");
  assert.match(expressionProblem(7 as unknown as string, SCOPE) ?? "", "must be text");
});

test("what is checked never throws, and what is accepted can be evaluated or fails as an expression", () => {
  const parts = [
    "data",
    ".a",
    "results",
    ".charge",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ":",
    ",",
    " ",
    "1",
    "2.5",
    "'x'",
    "+",
    "-",
  ];
  const more = [
    "*",
    "/",
    "%",
    "==",
    "<",
    "in",
    "&&",
    "||",
    "!",
    "?",
    ".?",
    ".map(",
    "x",
    "has(",
    "size(",
    "null",
    "true",
    "$",
    "\\",
    "\u{1f600}",
  ];
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.array(fc.constantFrom(...parts, ...more), { maxLength: 14 }).map((list) => list.join("")),
  );
  fc.assert(
    fc.property(text, (one) => {
      const found = expressionProblem(one, SCOPE);
      assert.ok(found === undefined || found.length > 0);
      try {
        evaluate(one, { data: { a: 1 }, results: { charge: [1, "x"] } });
      } catch (error) {
        assert.instance(error, ExpressionError);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("types that cannot fit are refused", () => {
  assert.match(problem("1 + 'a'"), "no such overload: int + string");
  assert.match(problem("size(1)"), "no matching overload");
  assert.match(problem("data.x ? 1 : 'a'"), "must have the same type");
});

test("an expression has at most 1 kB of UTF-8, 200 nodes and a depth of 24", () => {
  accepts(`'${"x".repeat(1_022)}'`, Array(100).fill("1").join("+"), `${"(".repeat(23)}1${")".repeat(23)}`);
  assert.match(problem(`'${"x".repeat(1_023)}'`), "has 1025 bytes; an expression may have at most 1024");
  assert.match(problem(`'${"é".repeat(512)}'`), "has 1026 bytes");
  assert.match(problem(Array(101).fill("1").join("+")), "at most 200 nodes");
  assert.match(problem(`${"(".repeat(24)}1${")".repeat(24)}`), "24 deep");
  assert.match(problem(`data${".a".repeat(25)}`), "24 deep");
  assert.match(problem(`${"[".repeat(30)}${"]".repeat(30)}`), "24 deep");
  assert.match(reasonOf(`data${".a".repeat(25)}`, {}), "24 deep");
});

test("`matches` is refused, and whatever else is not known to be harmless", () => {
  for (const text of ["data.a.matches('(a+)+$')", "matches(data.a, 'x')"])
    assert.match(problem(text), "`matches` is refused");
  assert.match(problem("cel.bind(x, 1, x)"), "`bind` is refused");
  assert.match(problem("data.blob.json()"), "`json` is refused");
  assert.match(problem("foo(1)"), "there is no function `foo`");
  assert.match(problem("siz(data.a)"), "did you mean `size`?");
  assert.match(problem("_each(data.a, 1)"), "there is no function `_each`");
  assert.match(reasonOf("data.a.matches('x')", { data: { a: "x" } }), "`matches` is refused");
});

test("macros within macros are refused, one after the other is fine", () => {
  for (const outer of ["map", "filter", "all", "exists", "exists_one"]) {
    for (const inner of ["map", "filter", "all", "exists", "exists_one"]) {
      assert.match(problem(`data.l.${outer}(x, x.${inner}(y, y))`), "macros within macros are refused");
      assert.match(problem(`data.l.${outer}(x, size([1].${inner}(y, true)) == 1)`), /macros within macros|overload/);
    }
  }
  assert.match(problem("data.l.map(x, x.exists(y, y), x)"), "macros within macros");
  accepts(
    "data.l.filter(x, x.ok).map(x, x.id)",
    "data.l.map(x, has(x.a) ? x.?a.orValue(1) : 0)",
    "data.a.all(x, x) && data.b.all(x, x)",
  );
});

test("unknown names are refused with what was meant", () => {
  assert.match(problem("reslts.charge"), "unknown name `reslts`: did you mean `results`?");
  assert.match(problem("dta.x"), "did you mean `data`?");
  assert.match(problem("data.l.map(x, y.a)"), "unknown name `y`");
  assert.match(problem("data.l.map(x, x) + x.b"), "unknown name `x`");
  assert.is(problem("result.ok"), "`result` is not known here; known: data, results, errors, skipped, job");
  assert.match(problem("data.l.map(data, data)"), "choose another one");
  accepts("data.anything.at.all", "type(data.a) == string", "[1, 'a', null]");
});

test("only entries that have certainly ended may be named", () => {
  for (const name of ["results", "errors", "skipped"]) {
    accepts(
      `has(${name}.charge)`,
      `${name}.?charge.orValue(null) == null`,
      `${name}["charge"] == null`,
      `${name}[?'charge'].hasValue()`,
    );
    for (const text of [
      `${name}.pick`,
      `${name}.?pick.orValue(1)`,
      `${name}["pick"]`,
      `${name}[?"pick"].hasValue()`,
      `has(${name}.pick)`,
    ]) {
      assert.is(problem(text), `\`${name}.pick\` may not have ended by then: add it to \`needs\``);
      assert.match(problem(`data.l.map(x, ${text})`), "may not have ended");
    }
    assert.is(problem(`${name}.pik.x`), `\`${name}.pik\`: no entry has the id \`pik\`: did you mean \`pick\`?`);
    assert.is(problem(`${name}.other`), `\`${name}.other\`: no entry has the id \`other\``);
    for (const text of [`size(${name})`, `${name}[data.k]`, name, `${name}.map(x, x)`]) {
      assert.match(problem(text), `\`${name}\` must be followed by the id of an entry`);
    }
  }
});

test("unknown fields of the job are refused", () => {
  accepts("job.id + job.name", "job.created_at", "job.scheduled_for == null", "job");
  assert.match(problem("job.nam"), "there is no `job.nam`: did you mean `name`?");
  assert.match(problem("job['state']"), "a job has id, name, created_at, scheduled_for");
});

test("who forgot the quotes of a text is told", () => {
  assert.is(problem("catalog"), `unknown name \`catalog\`; write "'catalog'" for the text catalog`);
  assert.match(problem("us-east-1"), `write "'us-east-1'" for the text us-east-1`);
  assert.match(problem("hello world"), `write "'hello world'" for the text hello world`);
  assert.match(problem("http://x.org/a"), `write "'http://x.org/a'"`);
  accepts("'catalog'");
});

test("keys of a map are texts that stand there", () => {
  accepts("{'$': 1}", "{'a': {'b': data.x}}");
  assert.equal(over({}, "{'$': 1}"), { $: 1 });
  for (const text of ["{1: 2}", "{data.k: 1}", "{true: 1}"]) assert.match(problem(text), "must be a text in quotes");
  assert.match(problem("{'a': 1, 'a': 2}"), "stands twice");
});

// Work

test("large lists can be gone through, and what would take seconds is refused soon", () => {
  const list = Array.from({ length: 100_000 }, (_, index) => index);
  const data = {
    list,
    objects: list.map((id) => ({ id, on: id % 2 === 0, tag: `t${id % 7}` })),
    some: list.slice(0, 10_000),
    strings: list.map(String),
    text: "a".repeat(1_000_000),
    needle: `b${"a".repeat(250)}`,
    digits: "1".repeat(100_000),
  };
  const fits: [string, number][] = [
    ["size(data.list.map(x, x * 2))", 100_000],
    ["size(data.objects.filter(o, o.on && o.tag in ['t1', 't2']).map(o, o.id))", 14_286],
    ["size(data.strings.join(','))", 588_889],
  ];
  for (const [text, expected] of fits) assert.is(over(data, text), expected, text);
  const tooMuch = [
    "data.list.filter(x, x in data.list)",
    "data.some.filter(x, x in data.some)",
    "data.some.all(x, x in data.some || true)",
    "data.some.map(x, data.objects)",
    "data.some.map(x, data.objects == data.list)",
    "data.some.map(x, [data.text + data.text])",
    "data.some.map(x, data.text.split(''))",
    "data.some.map(x, size(data.text))",
    "data.some.map(x, data.text.lastIndexOf(data.needle))",
    "data.some.map(x, timestamp(1).getHours('Europe/Berlin'))",
    "[data.list].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x)",
    "[data.text].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x)",
    "data.list.map(x, 'x').join(data.needle).split('')",
  ];
  for (const text of tooMuch) {
    const begun = performance.now();
    assert.match(reasonOf(text, { data }), "steps: its lists or texts are too large", text);
    // It takes 0.05 to 0.6 s; where nothing is counted, minutes.
    assert.ok(performance.now() - begun < 5_000, text);
  }
  assert.match(reasonOf("duration(data.digits)", { data }), "more than 40 characters");
  assert.match(reasonOf("data.text.contains(data.digits)", { data }), "more than 256 characters");
});

test("only what an expression reads is made ready for it", () => {
  const read: string[] = [];
  const watched = (fields: Record<string, unknown>): Record<string, unknown> => {
    const object: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(fields)) {
      Object.defineProperty(object, key, {
        enumerable: true,
        get() {
          read.push(key);
          return value;
        },
      });
    }
    return object;
  };
  const data = watched({ a: watched({ b: 1, c: 2 }), d: 3 });
  assert.is(over(data, "data.a.b + 1"), 2);
  assert.equal([...new Set(read)], ["a", "b"]);
});

test("an `Expressions` gives the same as before for other values, and keeps few texts", () => {
  const expressions = new Expressions();
  for (let n = 0; n < 500; n++) {
    assert.is(expressions.evaluate("data.n + 1", { data: { n } }), n + 1);
    assert.is(expressions.evaluate(`data.n + ${n}`, { data: { n } }), n + n);
    assert.equal(expressions.evaluate("data.l.map(x, x + data.n)", { data: { n, l: [n] } }), [n + n]);
    assert.throws(() => expressions.evaluate("data.l.map(x, x.y)", { data: { l: [n] } }));
  }
  assert.is(expressions.evaluateCondition("data.n == 'x'", { data: { n: "x" } }), true);
  assert.is(expressions.evaluateCondition("data.n == 'x'", { data: { n: 1 } }), false);
});

// Loading

/** Whether the library is loaded in a process that has run that. */
async function loads(code: string): Promise<boolean> {
  // CommonJS knows an ES module that was required too.
  const script = `${code}
    const { createRequire } = await import("node:module");
    const cache = Object.keys(createRequire(${JSON.stringify(import.meta.url)}).cache);
    console.log(cache.some((path) => path.includes("cel-js")));`;
  const args = ["--import", "tsx", "--input-type=module", "--eval", script];
  const { stdout, stderr } = await run(process.execPath, args, {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
  });
  assert.is(stderr, "");
  return stdout.trim() === "true";
}

test("jobs without expressions never load the library", async () => {
  assert.is(await loads('await import("./src/job/machine.ts");'), false);
  const withoutAny = `
    const { Expressions } = await import("./src/job/expressions.ts");
    const { fill, hasExpressions } = await import("./src/job/templates.ts");
    new Expressions(); hasExpressions({ a: 1 }); fill({ a: 1 }, () => 1);`;
  assert.is(await loads(withoutAny), false);
  assert.is(await loads(`${withoutAny} new Expressions().evaluate("1", {});`), true);
});

// Items, and what must be given

test("item and item_index are known where items are done, and are what elements of a list may be called everywhere", () => {
  const ofItems: Scope = { ...SCOPE, names: new Set<Root>([...SCOPE.names, "item", "item_index"]) };
  const values = { data: { xs: [{ n: 1 }, { n: 5 }] }, item: { n: 7 }, item_index: 3 };
  const cases: [string, unknown][] = [
    ["item", { n: 7 }],
    ["item.n + item_index", 10],
    ["item_index % 2 == 1", true],
    ["data.xs.map(item, item.n)", [1, 5]],
    ["data.xs.exists(item, item.n == 5) && item.n == 7", true],
  ];
  for (const [text, result] of cases) {
    assert.is(expressionProblem(text, ofItems), undefined, text);
    assert.equal(evaluate(text, values), result, text);
  }
  assert.match(problem("item.n"), "`item` is not known here");
  accepts("data.xs.filter(item, item.n > 2)");
  assert.is(evaluate("item == null", {}), true);
});

test("what certainly gives something else than it must is refused", () => {
  const given = (text: string, kind: "items" | "job") => expressionProblem(text, SCOPE, kind);
  for (const text of [
    "data.x",
    "[1, 2]",
    "5",
    "data.n + 1",
    "data.xs.filter(x, x > 1)",
    "data.a ? [1] : [2]",
    "size('a')",
  ]) {
    assert.is(given(text, "items"), undefined, text);
  }
  assert.is(given("'x'", "items"), "must give a list or a whole number, and gives a string");
  assert.is(given("data.x > 1", "items"), "must give a list or a whole number, and gives a bool");
  assert.match(given("{'a': 1}", "items") ?? "", "must give a list or a whole number, and gives a map");
  for (const text of ["results.charge", "{'functions': [1]}", "data.a ? data.b : data.c"])
    assert.is(given(text, "job"), undefined);
  assert.match(given("[1]", "job") ?? "", "must give a job, and gives a list");
});

test.run();
