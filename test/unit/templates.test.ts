import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { expressionsIn, fill, hasExpressions, MAX_EXPRESSIONS, templateProblem } from "../../src/job/templates.ts";
import { deepFreeze, jsonValue, same } from "./support.ts";

/** Says which expression stood where. */
const named = (text: string) => `<${text}>`;

test("an object whose only key is `$` with a text is an expression, wherever it stands", () => {
  const args = { a: { $: "data.a" }, list: [1, { $: "data.b" }, { deep: { $: "1" } }] };
  assert.ok(hasExpressions(args));
  assert.equal(fill(args, named), { a: "<data.a>", list: [1, "<data.b>", { deep: "<1>" }] });
  assert.is(fill({ $: "data" }, named), "<data>");
});

test("anything else is literal", () => {
  const literals: unknown[] = [
    "data.a",
    "$",
    { $: 1 },
    { $: null },
    { $: { x: 1 } },
    { $: ["data"] },
    { $: "data", more: 1 },
    { $$: "data" },
    { "$ ": "data" },
    ["$", "data"],
    [],
    {},
    null,
    undefined,
    1,
    2n,
    new Uint8Array([36]),
    Object.assign(Object.create({ $: "data" }), {}),
  ];
  for (const literal of literals) {
    assert.not.ok(hasExpressions(literal));
    assert.equal(expressionsIn(literal), []);
    assert.is(fill(literal, named), literal);
  }
});

test("an expression within what only looks like one is found", () => {
  const args = { $: { $: "data" } };
  assert.equal(expressionsIn(args), [{ path: "/$", text: "data" }]);
  assert.equal(fill(args, named), { $: "<data>" });
});

test("each is found with a JSON pointer to it, in order", () => {
  const args = { b: { $: "1" }, "a/~b": [{ $: "2" }, { "": { $: "3" } }] };
  assert.equal(expressionsIn(args), [
    { path: "/b", text: "1" },
    { path: "/a~1~0b/0", text: "2" },
    { path: "/a~1~0b/1/", text: "3" },
  ]);
  assert.equal(expressionsIn({ $: "4" }), [{ path: "", text: "4" }]);
});

test("what an expression gives is never evaluated", () => {
  const texts: string[] = [];
  const filled = fill({ a: { $: "data.evil" } }, (text) => {
    texts.push(text);
    return { $: "data.secret" };
  });
  assert.equal(filled, { a: { $: "data.secret" } });
  assert.equal(texts, ["data.evil"]);
});

test("only what changes is copied, and the args stay as they are", () => {
  const args = deepFreeze({ same: { list: [1, 2] }, other: [{ x: 1 }, { $: "1" }] });
  const filled = fill(args, named) as typeof args;
  assert.is(filled.same, args.same);
  assert.is(filled.other[0], args.other[0]);
  assert.is.not(filled.other, args.other);
  assert.equal(args.other[1], { $: "1" });
});

test("a key `__proto__` stays a key", () => {
  const args = JSON.parse('{"__proto__": {"$": "1"}, "b": {"__proto__": {"x": 1}, "c": {"$": "2"}}}');
  const filled = fill(args, named) as Record<string, Record<string, unknown>>;
  assert.ok(same(filled, JSON.parse('{"__proto__": "<1>", "b": {"__proto__": {"x": 1}, "c": "<2>"}}')));
  assert.is(Object.getPrototypeOf(filled), Object.prototype);
});

test("an expression that gives nothing new leaves an undefined field undefined", () => {
  assert.equal(
    fill({ a: { $: "1" }, b: undefined }, () => undefined),
    { a: undefined, b: undefined },
  );
});

test("at most 100 expressions are taken", () => {
  const args = Array.from({ length: MAX_EXPRESSIONS }, () => ({ $: "1" }));
  assert.is(templateProblem(args), undefined);
  assert.is((fill(args, named) as unknown[]).length, MAX_EXPRESSIONS);
  const more = [...args, { $: "1" }];
  assert.match(templateProblem(more) ?? "", "has 101 expressions; at most 100");
  assert.throws(() => fill(more, named), /more than 100/);
});

test("values without expressions come back as they are, and those with them have each replaced", () => {
  const withExpressions = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: "small" },
      jsonValue,
      fc.record({ $: fc.string() }, { noNullPrototype: true }),
      fc.array(tie("node"), { maxLength: 3 }),
      fc.dictionary(fc.string(), tie("node"), { maxKeys: 3, noNullPrototype: true }),
    ),
  })).node;
  fc.assert(
    fc.property(withExpressions, (args) => {
      const found = expressionsIn(args);
      fc.pre(found.length <= MAX_EXPRESSIONS);
      assert.is(hasExpressions(args), found.length > 0);
      const before = structuredClone(args);
      const texts: string[] = [];
      const filled = fill(args, (text) => {
        texts.push(text);
        return { got: text };
      });
      assert.ok(same(args, before));
      assert.equal(
        texts,
        found.map(({ text }) => text),
      );
      if (found.length === 0) assert.is(filled, args);
      for (const { path, text } of found) assert.equal(at(filled, path), { got: text });
    }),
  );
});

function at(value: unknown, path: string): unknown {
  const keys = path.split("/").slice(1);
  const step = (inner: unknown, key: string) =>
    (inner as Record<string, unknown>)[key.replaceAll("~1", "/").replaceAll("~0", "~")];
  return keys.reduce(step, value);
}

test.run();
