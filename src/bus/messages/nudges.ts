/**
 * The messages of `job.ctl.>`: what supervisors and workers tell each other to be quick. Any of them may get lost, and anyone may
 * send nonsense there, so nothing depends on them; what cannot be read is no message.
 */

import { functionNameProblem, MAX_FUNCTION_NAME_LENGTH, MAX_JOB_ID_LENGTH } from "../../job/names.ts";
import type { AttemptAddress } from "../../job/state.ts";
import { readJsonObject } from "./codec.ts";
import { readHeartbeatMs } from "./heartbeat.ts";

const MAX_FUNCTIONS = 1_000;
/** Their names fit into any message. */
const FEW_FUNCTIONS = 10;
const MAX_SLOTS = 100_000;

/**
 * On `job.ctl.room`: a worker has room for so many attempts of any of these functions; none if it has left for good.
 */
export interface Room {
  functions: string[];
  slots: number;
  /** The interval of its heartbeats. */
  heartbeatMs?: number | undefined;
}

/** As many functions in a message as fit into it, and as its readers take. */
export function encodeRooms(room: Room, maxPayload: number): string[] {
  const { functions } = room;
  if (functions.length <= FEW_FUNCTIONS) return [encodeRoom(room)];
  const most = Math.max(1, Math.min(MAX_FUNCTIONS, Math.floor(maxPayload / (2 * MAX_FUNCTION_NAME_LENGTH))));
  const bodies: string[] = [];
  for (let from = 0; from < functions.length; from += most) {
    bodies.push(encodeRoom({ ...room, functions: functions.slice(from, from + most) }));
  }
  return bodies;
}

function encodeRoom({ functions, slots, heartbeatMs }: Room): string {
  return JSON.stringify({ functions, slots, heartbeat_ms: heartbeatMs });
}

export function readRoom(data: Uint8Array): Room | undefined {
  const room = readJsonObject(data);
  if (!Array.isArray(room?.functions)) return undefined;
  const functions = room.functions.filter((name) => typeof name === "string").slice(0, MAX_FUNCTIONS);
  const slots = typeof room.slots === "number" && room.slots >= 0 ? Math.min(room.slots, MAX_SLOTS) : 1;
  return { functions, slots, heartbeatMs: readHeartbeatMs(room.heartbeat_ms) };
}

/** On `job.ctl.stop`: the attempt whose invocation has this reply subject may stop. */
export interface Stop {
  reply: string;
  /** Its answer is waited for: its job undoes, and has to know what was done. Else nobody waits for it any more. */
  answer?: true;
}

/** Its job and address are given if they are known. */
export function encodeStop({ reply, answer }: Stop, jobId?: string, address?: AttemptAddress): string {
  return JSON.stringify({ reply, job_id: jobId, index: address?.index, attempt: address?.attempt, answer });
}

export function readStop(data: Uint8Array): Stop | undefined {
  const stop = readJsonObject(data);
  if (typeof stop?.reply !== "string") return undefined;
  return { reply: stop.reply, ...(stop.answer === true && { answer: true }) };
}

/** On `job.ctl.storage`: whether the bucket of states is too full for new jobs. */
export function encodeStorage(full: boolean): string {
  return JSON.stringify({ full });
}

export function readStorage(data: Uint8Array): boolean {
  return readJsonObject(data)?.full === true;
}

/**
 * On `job.ctl.queued`: jobs of the function have been put into its backlog; on `job.ctl.settings`: its settings have been changed.
 */
export function encodeQueued(functionName: string): string {
  return JSON.stringify({ function: functionName });
}

/** The name of the function. */
export function readQueued(data: Uint8Array): string | undefined {
  const name = readJsonObject(data)?.function;
  return typeof name === "string" && functionNameProblem(name) === undefined ? name : undefined;
}

/** On `job.ctl.ended.<id of the parent>`: the id of the child that has ended. */
export function readEnded(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, Math.min(data.length, MAX_JOB_ID_LENGTH)).toString();
}
