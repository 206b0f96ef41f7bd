/** Where the many short-lived things of a process are kept: by key, by token, and without either. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { OpenRequests } from "../../src/bus/wire/open-requests.ts";
import { Bag, type Bagged } from "../../src/util/bag.ts";
import { Registry } from "../../src/util/registry.ts";

interface Thing extends Bagged {
  name: string;
}

const thing = (name: string): Thing => ({ name, bagIndex: undefined });
const operations = fc.array(fc.tuple(fc.constantFrom("put", "take"), fc.constantFrom("a", "b", "c", "d", "e", "f")));

test("a registry has what a Map would have", () => {
  fc.assert(
    fc.property(operations, (all) => {
      const registry = new Registry<Thing>();
      const map = new Map<string, Thing>();
      for (const [what, key] of all) {
        if (what === "take") assert.is(registry.delete(key), map.delete(key));
        else {
          const one = thing(key);
          registry.set(key, one);
          map.set(key, one);
        }
        assert.is(registry.size, map.size);
        assert.is(registry.get(key), map.get(key));
        assert.is(registry.has(key), map.has(key));
        assert.equal(new Set(registry.values()), new Set(map.values()));
      }
    }),
  );
});

test("a bag has what a Set would have", () => {
  fc.assert(
    fc.property(operations, (all) => {
      const bag = new Bag<Thing>();
      const set = new Set<Thing>();
      const things = new Map<string, Thing>();
      for (const [what, key] of all) {
        const one = things.get(key) ?? thing(key);
        things.set(key, one);
        if (what === "take") assert.is(bag.delete(one), set.delete(one));
        else if (!set.has(one)) {
          bag.add(one);
          set.add(one);
        }
        assert.is(bag.size, set.size);
        assert.equal(new Set(bag), set);
        assert.is(one.bagIndex === undefined, !set.has(one));
      }
    }),
  );
});

test("who goes through a bag comes to each, the older ones first, and may delete what it comes to", () => {
  const bag = new Bag<Thing>();
  const things = ["a", "b", "c", "d", "e"].map(thing);
  for (const one of things) bag.add(one);
  const seen = [];
  for (const one of bag) {
    seen.push(one.name);
    if (one.name !== "c") bag.delete(one);
  }
  assert.equal(seen.sort(), ["a", "b", "c", "d", "e"]);
  assert.equal(
    [...bag].map(({ name }) => name),
    ["c"],
  );
  const other = new Bag<Thing>();
  assert.is(other.delete(things[2] as Thing), false, "it is in another one");
  bag.clear();
  assert.is(bag.size, 0);
  assert.is(things[2]?.bagIndex, undefined);
});

test("an open request is found by its token, until it is deleted, and by no other", () => {
  const open = new OpenRequests<Thing>();
  const [a, b] = [open.reserve(), open.reserve()];
  assert.is(open.get(a), undefined, "it is not there yet");
  assert.is(open.size, 2);
  open.set(a, thing("a"));
  open.set(b, thing("b"));
  assert.equal(
    [...open].map(({ name }) => name),
    ["a", "b"],
  );
  open.delete(a);
  assert.is(open.size, 1);
  const c = open.reserve();
  open.set(c, thing("c"));
  assert.is(open.get(a), undefined, "its place is that of another one by now");
  assert.is(open.get(c)?.name, "c");
  open.delete(a);
  assert.is(open.get(c)?.name, "c");
  for (const wrong of ["", "0", "zzzzzzzzzzzz", `${b}x`, b.slice(1), "-1abcdefgh", "1e3abcdefgh"]) {
    assert.is(open.get(wrong), undefined, wrong);
    open.delete(wrong);
  }
  assert.is(open.size, 2);
});

test("a token is never used again, though its place is", () => {
  const open = new OpenRequests<Thing>();
  const tokens = new Set<string>();
  for (let i = 0; i < 10_000; i++) {
    const token = open.reserve();
    assert.not.ok(tokens.has(token));
    tokens.add(token);
    open.set(token, thing(token));
    if (i % 3 > 0) open.delete(token);
  }
  assert.is(open.size, 3_334);
  assert.is([...open].length, 3_334);
});

test.run();
