/** The short form of the fuzz of all subjects, headers and routes. `npm run abuse -- --seed n --rounds k` repeats one, or runs more. */
import { suite } from "uvu";
import { runFuzz } from "./fuzz/fuzz.ts";

const test = suite("fuzz");

test("nothing that anybody sends stops anything, and all that is accepted gets an end", async () => {
  await runFuzz({ seed: 7, rounds: 3 });
});

test.run();
