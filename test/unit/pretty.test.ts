/** Logs as people read them in a terminal. */
import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type PrettyOptions, pretty } from "../../src/cli/pretty.ts";

const test = suite("pretty logs");
const PLAIN = { color: false, stacks: false };

/** What a logger writes, without the time. */
function written(log: (to: pino.Logger) => void, options: PrettyOptions = PLAIN): string {
  let text = "";
  log(
    pino(
      { level: "debug" },
      {
        write: (line: string) => {
          text += pretty(line, options);
        },
      },
    ),
  );
  return text.replaceAll(/^(\S*)\d\d:\d\d:\d\d\.\d{3}/gm, "$1TIME");
}

test("a line has time, level and message, then the job, the function and the attempt, then the rest", () => {
  assert.is(
    written((log) => log.info({ other: { a: 1 }, attempt: 2, fn: "sum", jobId: "seq-1" }, "two words")),
    'TIME INFO  two words  jobId=seq-1 fn=sum attempt=2 other={"a":1}\n',
  );
  assert.is(
    written((log) => log.warn({ functions: ["a", "/v1/b"], text: 'said "so"' }, "x")),
    'TIME WARN  x  functions=a,/v1/b text="said \\"so\\""\n',
  );
});

test("an error is its message and its place, without the calls unless they are asked for", () => {
  const error = new Error("no such\ncustomer");
  error.stack = `Error: no such customer
    at check (/app/node_modules/checks/index.js:1:2)
    at process.tick (node:internal/tick:1:2)
    at charge (file:///app/charge.ts:3:9)`;
  assert.is(
    written((log) => log.error({ err: error }, "failed")),
    'TIME ERROR failed  err="no such customer" at /app/charge.ts:3:9\n',
  );
  const whole = written((log) => log.error({ err: error }, "failed"), { color: false, stacks: true });
  assert.match(whole, error.stack);
});

test("what jobs say cannot forge lines, move the cursor, or fill the screen", () => {
  const text = written((log) =>
    log.info({ fn: "a\nTIME FATAL b\u001b[2J", long: "x".repeat(5_000) }, "m\r\n\u001b[1A"),
  );
  assert.is(text.split("\n").length, 2);
  assert.not.match(text.slice(0, -1), /\p{Cc}/u);
  assert.ok(text.length < 400, text);
});

test("times are in UTC, and an entry that overwrites what a line has does no harm", () => {
  assert.is(pretty('{"level":30,"time":0,"msg":"x"}', PLAIN), "00:00:00.000 INFO  x\n");
  for (const time of ['"x"', "1e300", "null", "{}"]) {
    assert.match(pretty(`{"level":"?","time":${time},"msg":{"a":1},"err":null}`, PLAIN), '{"a":1}  err=null');
  }
});

test("levels have colours where they are wanted, and what is no entry stays as it is", () => {
  const color = { color: true, stacks: false };
  assert.match(
    written((log) => log.error("x"), color),
    "\u001b[31mERROR",
  );
  assert.match(
    written((log) => log.warn("x"), color),
    "\u001b[33mWARN",
  );
  assert.is(pretty("no JSON\n", PLAIN), "no JSON\n");
  assert.is(pretty("17\n", PLAIN), "17\n");
});

test.run();
