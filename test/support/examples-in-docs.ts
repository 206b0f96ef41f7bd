/**
 * The examples of a page of the documents, as steps that a test can do. A fenced block says by the words after its language
 * what it is; what has no such word is for readers only.
 *
 *     json job         a job that is submitted
 *     json document    a document that is saved as `job.json` and not submitted
 *     sh run           commands; `sh refused`: they exit with 1
 *     ts run           a function body with `client`; `// → value` in its last line is what it returns
 *     text output      what the commands before it have printed
 *     json values      what the expressions after it are evaluated over
 *     text expressions lines `expression → value`, `→ fails: why` or `→ refused: why`
 *
 * A line "Ends `completed` with `42`." tells how the job that was submitted last has ended by then: its result, or the code of its
 * error.
 */

export type Step = { line: number; text: string } & (
  | { kind: "job" | "document" | "run" | "refused" | "code" | "output" | "values" | "expressions" }
  | { kind: "ends"; state: string; outcome: string | undefined }
);

const KINDS: Record<string, Step["kind"]> = {
  "json job": "job",
  "json document": "document",
  "sh run": "run",
  "sh refused": "refused",
  "ts run": "code",
  "text output": "output",
  "json values": "values",
  "text expressions": "expressions",
};

const END = /^Ends `(\w+)`(?: with `(.+)`)?\.$/;

/** In the order in which they stand there. */
function stepsIn(page: string): Step[] {
  const steps: Step[] = [];
  let block: { info: string; line: number; text: string } | undefined;
  for (const [at, text] of page.split("\n").entries()) {
    const line = at + 1;
    if (block) {
      if (text !== "```") {
        block.text += `${text}\n`;
        continue;
      }
      const step = stepOf(block);
      if (step) steps.push(step);
      block = undefined;
    } else if (text.startsWith("```")) {
      block = { info: text.slice(3).trim(), line, text: "" };
    } else {
      const [, state, outcome] = END.exec(text) ?? [];
      if (state !== undefined) steps.push({ kind: "ends", state, outcome, line, text });
    }
  }
  return steps;
}

function stepOf({ info, line, text }: { info: string; line: number; text: string }): Step | undefined {
  const kind = KINDS[info];
  if (kind !== undefined && kind !== "ends") return { kind, line, text };
  if (info.includes(" ")) throw new Error(`line ${line}: no kind of block is \`${info}\``);
  // A job that nobody runs may rot.
  if (info === "json" && text.includes('"functions"')) throw new Error(`line ${line}: a job that is not run`);
  return undefined;
}

/**
 * The steps by the job, document or values with which they begin.
 *
 * @throws Error if a block has words that mean nothing, or an example has nothing that can be checked
 */
export function examplesIn(page: string): Step[][] {
  const examples: Step[][] = [];
  for (const step of stepsIn(page)) {
    const begins = step.kind === "job" || step.kind === "document" || step.kind === "values";
    const current = examples.at(-1);
    if (begins || !current) examples.push([step]);
    else current.push(step);
  }
  const unchecked = examples.find((steps) => !steps.some(({ kind }) => CHECKS.includes(kind)));
  if (unchecked) throw new Error(`line ${unchecked[0]?.line}: an example of which is not said what comes of it`);
  return examples;
}

const CHECKS: readonly Step["kind"][] = ["ends", "output", "expressions"];

/** As printed output is compared: times, and how columns are filled, are left out. */
export function comparable(output: string): string[] {
  return output
    .trim()
    .split("\n")
    .map((line) =>
      line
        .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>")
        .replaceAll(/\s+/g, " ")
        .trim(),
    );
}
