/** The entry of the scale measurements alone. */
import { runScale } from "./run.ts";

process.exitCode = await runScale(process.argv.slice(2));
