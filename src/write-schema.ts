/** A step of the build: writes the JSON Schema of jobs beside the code, for editors. */
import { writeFile } from "node:fs/promises";
import { jobSchema } from "./job/json-schema.ts";

await writeFile(new URL("./job.schema.json", import.meta.url), `${JSON.stringify(jobSchema(), null, 2)}\n`);
