/**
 * Whether the account has room for the streams that are to be made, told before the first of them is: so a start that fails
 * leaves no streams behind, whose limits are then the operator's business.
 *
 * Example: in an account with `max_file: 100M` nothing is made by default, and the error says which limits would fit.
 */
import type { JetStreamManager } from "@nats-io/jetstream";
import { AsyncError } from "../job/errors.ts";

const KIB = 1024;
const MIB = KIB ** 2;
/** What streams without a limit (timers, places in backlogs) must have at least. */
const UNLIMITED_MIN_BYTES = MIB;

/** A stream that is to be made. */
export interface NewStream {
  name: string;
  max_bytes?: number;
  num_replicas?: number;
}

/** The option that sets the limit of a stream, and the share of an account that is proposed for it. The rest is for timers. */
export type LimitOptions = Record<string, { flag: string; share: number }>;

/** @throws AsyncError `jetstream_error` if the server would refuse them; JetStream's errors */
export async function requireRoom(manager: JetStreamManager, streams: NewStream[], options: LimitOptions) {
  if (streams.length === 0) return;
  const account = await manager.getAccountInfo();
  const { limits, reserved_storage } = account.tiers?.[`R${streams[0]?.num_replicas ?? 1}`] ?? account;
  const unlimited = streams.filter(({ max_bytes }) => max_bytes === undefined);
  if (limits.max_bytes_required && unlimited.length > 0) {
    const names = unlimited.map(({ name }) => name).join(", ");
    const why = `the account requires a limit (max_bytes) of each stream, and stream ${names} has none`;
    throw new AsyncError("jetstream_error", `${why}: beyond one, jobs would be lost; use an account without that`);
  }
  const left = limits.max_streams - account.streams;
  if (limits.max_streams >= 0 && left < streams.length) {
    const what = `the account may have ${left} more stream(s), but ${streams.length} are missing`;
    throw new AsyncError("jetstream_error", `${what}; raise its max_streams`);
  }
  if (limits.max_storage < 0) return;
  const room = Math.max(0, limits.max_storage - reserved_storage);
  const wanted = streams.reduce((sum, { max_bytes }) => sum + (max_bytes ?? UNLIMITED_MIN_BYTES), 0);
  if (wanted <= room) return;
  const list = streams.map((one) => `${one.name} ${one.max_bytes === undefined ? "some" : sizeText(one.max_bytes)}`);
  const what = `the account has ${sizeText(room)} left for streams, but ${sizeText(wanted)} are asked for`;
  throw new AsyncError("jetstream_error", `${what} (${list.join(", ")}); ${proposal(streams, room, options)}`);
}

/** From this used share on, an account is a problem. */
const ALMOST_FULL = 0.9;

/** What is wrong if the account is almost full: nothing can be stored any more then, in no stream. @throws JetStream's errors */
export async function accountProblem(manager: JetStreamManager, replicas: number): Promise<string | undefined> {
  const account = await manager.getAccountInfo();
  const { limits, storage } = account.tiers?.[`R${replicas}`] ?? account;
  if (limits.max_storage <= 0 || storage < limits.max_storage * ALMOST_FULL) return undefined;
  const percent = Math.round((100 * storage) / limits.max_storage);
  return `the account is ${percent} % full (max_file is ${sizeText(limits.max_storage)}): beyond that no job can go on`;
}

function proposal(streams: NewStream[], room: number, options: LimitOptions): string {
  const raise = "raise the account's max_file";
  const flags = streams.flatMap(({ name }) => {
    const option = options[name];
    return option ? [`${option.flag} ${Math.floor((room * option.share) / KIB)}K`] : [];
  });
  return room < 4 * UNLIMITED_MIN_BYTES || flags.length === 0 ? raise : `${raise}, or use ${flags.join(" ")}`;
}

/** @example sizeText(1536 * 1024) // "1.5 MiB" */
export function sizeText(bytes: number): string {
  if (bytes < MIB) return `${Math.round(bytes / KIB)} KiB`;
  const [size, unit] = bytes < KIB * MIB ? [bytes / MIB, "MiB"] : [bytes / (KIB * MIB), "GiB"];
  return `${Math.round(size * 10) / 10} ${unit}`;
}
