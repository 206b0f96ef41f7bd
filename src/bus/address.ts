/**
 * Where the server is and who we are: addresses with or without credentials, and the options of the client made of them.
 *
 * ADDRESS-1  A secret leaves this module only to the client. What is shown (`shown`, errors) has none.
 * ADDRESS-2  Credentials that are given as options are taken instead of those in the address.
 */
import { readFileSync } from "node:fs";
import { type Authenticator, credsAuthenticator, type NodeConnectionOptions, nkeyAuthenticator } from "nats";
import { AsyncError, messageOf } from "../job/errors.ts";

/** Who we are to the server, and how we reach its JetStream. At most one of user, token, creds and nkey. */
export interface AccessOptions {
  user?: string;
  password?: string;
  token?: string;
  /** Path of a credentials file (JWT and seed). It is read again at each reconnect. */
  creds?: string;
  /** Seed of an NKey (`SU…`), or the path of a file that holds it. */
  nkey?: string;
  /** Path of the certificate of the authority that the server's is checked against. */
  tlsCa?: string;
  /** Paths of a certificate and key of our own. */
  tlsCert?: string;
  tlsKey?: string;
  /** The server expects the TLS handshake before anything else. */
  tlsFirst?: boolean;
  /**
   * JetStream domain that the streams are in, where it is not that of the server we connect to: at a leaf node, that of its hub.
   * Letters, digits, `-` and `_`.
   */
  domain?: string;
  /** Prefix of the reply inboxes; a permission of the user where the server has permissions. Default `_INBOX_async`. */
  inboxPrefix?: string;
}

/** What the client is told. */
export interface Access {
  servers: string[];
  /** The addresses without secrets, for people. */
  shown: string;
  client: Partial<NodeConnectionOptions>;
  /** What subjects of the JetStream API begin with. */
  apiPrefix: string;
}

interface Server {
  scheme: string | undefined;
  user: string | undefined;
  /** Undefined where the address has only one word before the `@`, which is a token. */
  password: string | undefined;
  host: string;
}

const SERVER = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(?:(.*)@)?(\[[0-9a-f:.%]+\]|[^\s:/@,[\]]+)(?::(\d{1,5}))?\/?$/is;
const KNOWN_SCHEMES = new Set([undefined, "nats", "tls"]);
const SEED = /^SU[A-Z2-7]{56}$/;
const DOMAIN = /^[-\w]{1,64}$/;
const INBOX_PREFIX = /^[^\s.*>]+(\.[^\s.*>]+)*$/;

/** @throws AsyncError `invalid_option` */
export function accessOf(url: string, options: AccessOptions = {}): Access {
  const servers = serversIn(url);
  const { domain, inboxPrefix } = options;
  if (domain !== undefined && !DOMAIN.test(domain)) throw invalid("a domain consists of letters, digits, '-' and '_'");
  if (inboxPrefix !== undefined && !INBOX_PREFIX.test(inboxPrefix)) {
    throw invalid("an inbox prefix is a subject without wildcards, such as _INBOX_mine");
  }
  const tls = tlsOptions(
    options,
    servers.some(({ scheme }) => scheme === "tls"),
  );
  return {
    servers: servers.map(({ host }) => host),
    shown: servers.map(({ scheme = "nats", host }) => `${scheme}://${host}`).join(","),
    client: { ...credentials(servers, options), ...(tls && { tls }) },
    apiPrefix: domain === undefined ? "$JS.API" : `$JS.${domain}.API`,
  };
}

/** The addresses without user, password and token. Text that is no address is not shown at all. */
export function redacted(url: string): string {
  try {
    return accessOf(url).shown;
  } catch {
    return "an address that cannot be read";
  }
}

/** Whether an address says who we are. */
export function hasCredentials(url: string): boolean {
  return url.includes("@");
}

/** What a process is told by its environment (`NATS_URL`, `ASYNC_NATS_…`). Credentials in the address go before the others. */
export function accessFromEnvironment(
  env: NodeJS.ProcessEnv = process.env,
  url = env.NATS_URL,
): AccessOptions & { url?: string } {
  const own = url !== undefined && hasCredentials(url);
  const set = (name: string) => env[name] || undefined;
  const given = {
    url: url || undefined,
    user: own ? undefined : set("ASYNC_NATS_USER"),
    password: own ? undefined : set("ASYNC_NATS_PASSWORD"),
    token: own ? undefined : set("ASYNC_NATS_TOKEN"),
    creds: own ? undefined : set("ASYNC_NATS_CREDS"),
    nkey: own ? undefined : set("ASYNC_NATS_NKEY"),
    tlsCa: set("ASYNC_NATS_TLS_CA"),
    tlsCert: set("ASYNC_NATS_TLS_CERT"),
    tlsKey: set("ASYNC_NATS_TLS_KEY"),
    tlsFirst: flag(set("ASYNC_NATS_TLS_FIRST")),
    domain: set("ASYNC_NATS_DOMAIN"),
    inboxPrefix: set("ASYNC_NATS_INBOX_PREFIX"),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The options of a connection: those given, and of the environment what they leave open. */
export function withEnvironment<T extends AccessOptions & { url?: string }>(options: T): T {
  const environment = accessFromEnvironment(process.env, options.url ?? process.env.NATS_URL);
  // Who says who they are does not want half of another identity.
  if (isIdentified(options)) for (const key of IDENTITY) delete environment[key];
  return { ...environment, ...options };
}

const IDENTITY = ["user", "password", "token", "creds", "nkey"] as const satisfies (keyof AccessOptions)[];

function isIdentified(options: AccessOptions): boolean {
  return IDENTITY.some((key) => options[key] !== undefined);
}

function flag(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return undefined;
  throw invalid("ASYNC_NATS_TLS_FIRST must be 1 or 0");
}

function serversIn(url: string): Server[] {
  const servers: Server[] = [];
  let begun = "";
  for (const part of url.split(",")) {
    begun = begun === "" ? part.trim() : `${begun},${part}`;
    const server = readServer(begun);
    if (!server) continue; // a comma within a password, or no address at all
    servers.push(server);
    begun = "";
  }
  if (begun !== "" || servers.length === 0) {
    throw invalid(
      "the address of NATS must be nats://host:port, or nats://user:password@host:port with ':', '@', '/' and ',' in the password as %3A, %40, %2F and %2C; several are separated by commas",
    );
  }
  return servers;
}

function readServer(text: string): Server | undefined {
  const match = SERVER.exec(text);
  if (!match) return undefined;
  const [, scheme, userinfo, host = "", port = "4222"] = match;
  if (!KNOWN_SCHEMES.has(scheme?.toLowerCase()) || Number(port) > 65_535 || Number(port) === 0) return undefined;
  const colon = userinfo?.indexOf(":") ?? -1;
  return {
    scheme: scheme?.toLowerCase(),
    user: userinfo === undefined ? undefined : decoded(colon < 0 ? userinfo : userinfo.slice(0, colon)),
    password: userinfo === undefined || colon < 0 ? undefined : decoded(userinfo.slice(colon + 1)),
    host: `${host}:${port}`,
  };
}

/** A password with a lone `%` was not percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function credentials(servers: Server[], options: AccessOptions): Partial<NodeConnectionOptions> {
  const { user, password, token, creds, nkey } = isIdentified(options) ? options : credentialsIn(servers);
  if (password !== undefined && user === undefined) throw invalid("a password needs a user");
  const kinds = [user, token, creds, nkey].filter((one) => one !== undefined);
  if (kinds.length > 1) throw invalid("give one of user and password, token, creds and nkey, not several");
  if (user !== undefined) return { user, pass: password ?? "" };
  if (token !== undefined) return { token };
  if (creds !== undefined) return { authenticator: credsFrom(creds) };
  if (nkey !== undefined) return { authenticator: nkeyAuthenticator(new TextEncoder().encode(seedFrom(nkey))) };
  return {};
}

/** The client has one identity for all servers; servers without one share that of the others. */
function credentialsIn(servers: Server[]): AccessOptions {
  const [first, ...others] = servers.filter(({ user }) => user !== undefined);
  if (!first?.user) return {};
  if (others.some(({ user, password }) => user !== first.user || password !== first.password)) {
    throw invalid("the addresses of NATS have different credentials; a process has one identity");
  }
  return first.password === undefined ? { token: first.user } : { user: first.user, password: first.password };
}

function credsFrom(file: string): Authenticator {
  let content = contentOf("creds", file);
  const authenticator = credsAuthenticator(() => {
    try {
      content = readFileSync(file);
    } catch {
      // It is being replaced, or has gone: what was read before may do.
    }
    return content;
  });
  try {
    authenticator("nonce");
  } catch (cause) {
    throw invalid(`${file} is not a credentials file`, cause);
  }
  return authenticator;
}

function seedFrom(value: string): string {
  const text = SEED.test(value) ? value : contentOf("nkey", value).toString().trim();
  const seed = text.split(/\s+/).find((line) => SEED.test(line));
  if (seed === undefined) throw invalid("the file given as nkey holds no seed of a user (SU…)");
  return seed;
}

function contentOf(option: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    // What was meant as a seed and is none is not to be shown as a path.
    const why = (cause as NodeJS.ErrnoException).code ?? "unreadable";
    throw invalid(`cannot read the file given as ${option}: ${why}`);
  }
}

function tlsOptions(options: AccessOptions, required: boolean): NodeConnectionOptions["tls"] | undefined {
  const { tlsCa, tlsCert, tlsKey, tlsFirst } = options;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw invalid("a TLS certificate and its key belong together");
  if (!required && tlsCa === undefined && tlsCert === undefined && !tlsFirst) return undefined;
  const files = { "tls-ca": tlsCa, "tls-cert": tlsCert, "tls-key": tlsKey };
  for (const [option, file] of Object.entries(files)) if (file !== undefined) contentOf(option, file);
  return {
    ...(tlsCa !== undefined && { caFile: tlsCa }),
    ...(tlsCert !== undefined && { certFile: tlsCert }),
    ...(tlsKey !== undefined && { keyFile: tlsKey }),
    ...(tlsFirst && { handshakeFirst: true }),
  };
}

/** Why there is no connection, and what to do about it. */
export function notConnected(shown: string, cause: unknown): AsyncError {
  const why = messageOf(cause);
  if (/authorization violation|authentication|permissions violation.*connect/i.test(why)) {
    const hint = "check user and password, token, creds or nkey (--user, …, ASYNC_NATS_…, or in the address)";
    return new AsyncError("not_connected", `the NATS server at ${shown} does not let us in: ${why}; ${hint}`, {
      cause,
    });
  }
  if (/certificate|\btls\b|\bssl\b|handshake|altnames/i.test(why)) {
    const hint = "see --tls-ca, --tls-cert and --tls-key, --tls-first";
    return new AsyncError("not_connected", `no TLS connection to the NATS server at ${shown}: ${why}; ${hint}`, {
      cause,
    });
  }
  const hint = "start one (`async dev` brings its own) or set NATS_URL or --nats";
  return new AsyncError("not_connected", `cannot reach a NATS server at ${shown}: ${why}; ${hint}`, { cause });
}

function invalid(message: string, cause?: unknown): AsyncError {
  return new AsyncError("invalid_option", message, cause === undefined ? undefined : { cause });
}
