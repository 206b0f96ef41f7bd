/** Options that several commands have. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { DEFAULT_MAX_MEMORY_BYTES } from "../actors/memory.ts";
import { type AccessOptions, hasCredentials, redacted, withEnvironment } from "../bus/address.ts";
import { DEFAULT_URL } from "../bus/connection.ts";
import { MAX_TIMER_MS } from "../job/time.ts";
import { MAX_CONCURRENCY } from "../worker/options.ts";
import { LOG_FORMATS } from "./log.ts";

/** How a command reaches NATS, as it was given on the command line. */
export interface ConnectionFlags extends AccessOptions {
  nats: string;
}

const CONNECTION = "How NATS is reached:";

/**
 * Adds the options of the connection. Those of the environment are filled in by {@link connectionOf}, because which of
 * them count depends on the others.
 */
export function onNats(command: Command): Command {
  const option = (flags: string, what: string, variable: string) =>
    new Option(flags, `${what} (env: ASYNC_NATS_${variable})`).helpGroup(CONNECTION);
  return command
    .addOption(
      new Option("--nats <url>", "address of NATS; several are separated by commas; may hold user:password@ or token@")
        .env("NATS_URL")
        .default(DEFAULT_URL)
        .helpGroup(CONNECTION),
    )
    .addOption(option("--user <name>", "user", "USER"))
    .addOption(option("--password <s>", "password", "PASSWORD"))
    .addOption(option("--token <s>", "token, instead of a user", "TOKEN"))
    .addOption(option("--creds <file>", "credentials file (JWT and seed)", "CREDS"))
    .addOption(option("--nkey <file>", "file with the seed of an NKey", "NKEY"))
    .addOption(option("--tls-ca <file>", "certificate of the authority of the server", "TLS_CA"))
    .addOption(option("--tls-cert <file>", "certificate to show to the server", "TLS_CERT"))
    .addOption(option("--tls-key <file>", "its key", "TLS_KEY"))
    .addOption(option("--tls-first", "TLS handshake before anything else", "TLS_FIRST"))
    .addOption(option("--domain <name>", "JetStream domain of the streams, at a leaf node that of its hub", "DOMAIN"))
    .addOption(option("--inbox-prefix <s>", "prefix of reply inboxes", "INBOX_PREFIX"));
}

/** What flags and environment say about the connection; flags go first. @throws AsyncError `invalid_option` */
export function connectionOf(flags: ConnectionFlags): AccessOptions & { url: string } {
  const { nats, user, password, token, creds, nkey, tlsCa, tlsCert, tlsKey, tlsFirst, domain, inboxPrefix } = flags;
  const all = { user, password, token, creds, nkey, tlsCa, tlsCert, tlsKey, tlsFirst, domain, inboxPrefix };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return withEnvironment({ url: nats, ...given });
}

const SECRET_OPTION = /^--(?:password|token|nkey)$/;
const SECRET_VALUE = /^(--(?:password|token|nkey)=).*$/s;

/**
 * The arguments as other users of the machine may see them, or undefined if they hold no secret.
 *
 * @example visibleArguments(["get", "x", "--password", "p"]) // ["get", "x", "--password", "***"]
 */
export function visibleArguments(args: readonly string[]): string[] | undefined {
  const visible = args.map((arg, index) => {
    const before = args[index - 1] ?? "";
    if (SECRET_OPTION.test(before)) return "***";
    if (before === "--nats") return withoutCredentials(arg);
    if (arg.startsWith("--nats=")) return `--nats=${withoutCredentials(arg.slice("--nats=".length))}`;
    return arg.replace(SECRET_VALUE, "$1***");
  });
  return visible.some((arg, index) => arg !== args[index]) ? visible : undefined;
}

function withoutCredentials(url: string): string {
  return hasCredentials(url) ? redacted(url) : url;
}

export const jsonOption = () => new Option("--json", "JSON instead of a table");

export const logFormatOption = () =>
  new Option("--log-format <f>", "how logs are written (default: pretty in a terminal, else json)")
    .env("ASYNC_LOG_FORMAT")
    .choices(LOG_FORMATS);

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

/** What a process does with its attempts when it is told to stop. */
export interface GraceFlags {
  /** In ms. */
  grace: number;
}

export const graceOption = () =>
  new Option("--grace <time>", "how long attempts may take to end when it is told to stop, e.g. 2m")
    .env("ASYNC_GRACE")
    .default(10_000, "10s")
    .argParser((text) => {
      const ms = parseTime(text);
      if (ms > MAX_TIMER_MS) throw new InvalidArgumentError("It must be at most 24d.");
      return ms;
    });

export const maxMemoryOption = () =>
  new Option("--max-memory <MiB>", "about how much memory the process may take; large jobs beyond wait on disk")
    .argParser(integer(128, 1_000_000))
    .default(DEFAULT_MAX_MEMORY_BYTES / 1024 ** 2);

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

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** Reads a time, as ms. */
export function parseTime(text: string): number {
  const [, number, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * (SECONDS[unit] ?? 1) * 1_000;
  throw new InvalidArgumentError("It must be a time with s, m, h or d, e.g. 30s or 12h.");
}

/** Reads an option that may be given several times. */
export function several(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** Reads an integer within limits. */
export function integer(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`It must be an integer from ${minimum} to ${maximum}.`);
  };
}
