/** Options that several commands have. */
import { InvalidArgumentError, Option } from "commander";
import { DEFAULT_URL } from "../bus/connection.ts";
import { MAX_CONCURRENCY } from "../worker/worker.ts";

export const natsOption = () => new Option("--nats <url>", "address of NATS").env("NATS_URL").default(DEFAULT_URL);

export const jsonOption = () => new Option("--json", "JSON instead of a table");

export const httpOption = () =>
  new Option("--http <host:port>", "address of the HTTP bridge")
    .env("ASYNC_HTTP")
    .default({ host: "127.0.0.1", port: 8000 }, "127.0.0.1:8000")
    .argParser(parseAddress);

export const concurrencyOption = () =>
  new Option(
    "--concurrency <n>",
    "attempts that a worker executes at a time (default: ASYNC_CONCURRENCY, else 2)",
  ).argParser(integer(1, MAX_CONCURRENCY));

export interface Address {
  host: string;
  port: number;
}

function parseAddress(text: string): Address {
  const match = /^(?:(.*):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (!match || port > 65_535) throw new InvalidArgumentError("It must be host:port or a port, e.g. 127.0.0.1:8000.");
  return { host: (match[1] || "127.0.0.1").replaceAll(/^\[|\]$/g, ""), port };
}

/** Reads an integer within limits. */
export function integer(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`It must be an integer from ${minimum} to ${maximum}.`);
  };
}
